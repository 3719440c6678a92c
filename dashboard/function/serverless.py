"""The read API as a Lambda function behind API Gateway, which has verified the caller's token.

There is no loop here that reads the hot tables: a process stands still between two requests. A
request reads what is due (:meth:`dashboard.feed.Feed.refresh`) and is then answered as by a server.
The page is not served here, and there is no live stream: both answer 404.

The environment names the deployment, as ``infra/templates/api.yaml`` sets it. AWS clients are made
by ``botocore`` alone: importing ``boto3`` would lengthen each cold start.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from botocore.config import Config
from botocore.session import get_session
from mangum import Mangum
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboard.feed import Feed, Shadows, Tables
from dashboard.http.access import CLAIMS, Access
from dashboard.http.api import create_app
from dashboard.principal import ClaimNames
from ingest.tiers import Tier

FASTEST_S: Final = 5.0
"""The least time between two reads of the roster. Each process that runs reads for itself."""

_CONFIG: Final = Config(
    retries={"mode": "standard", "max_attempts": 3}, connect_timeout=2, read_timeout=5,
    max_pool_connections=10,
)  # fmt: skip


class Claimed:
    """An ASGI application around another: hands over the claims that API Gateway's authorizer has
    verified, and lets the feed read what is due."""

    def __init__(self, app: ASGIApp, feed: Feed) -> None:
        self._app = app
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI calls it."""
        scope[CLAIMS] = verified_claims(scope.get("aws.event", {}))
        if scope[CLAIMS] is not None:
            await self._feed.refresh()
        await self._app(scope, receive, send)


class LateClient:
    """An ``iot-data`` client that is made when commands are first read: most requests read none,
    and it would lengthen each cold start."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._client: Any = None

    def get_thing_shadow(self, **request: Any) -> Any:
        """As ``boto3``'s."""
        if self._client is None:
            self._client = self._make()
        return self._client.get_thing_shadow(**request)


def verified_claims(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The claims in a request's event, payload format 2.0; ``None`` without an authorizer.

    >>> verified_claims({"requestContext": {"authorizer": {"jwt": {"claims": {"sub": "kim"}}}}})
    {'sub': 'kim'}
    >>> verified_claims({"requestContext": {}}) is None
    True
    """
    authorizer = event.get("requestContext", {}).get("authorizer") or {}
    claims: Mapping[str, Any] | None = (authorizer.get("jwt") or {}).get("claims")
    return claims


def tables_of(stack: str, *, alerts: bool) -> Tables:
    """The names of a deployment's hot tables; :class:`ingest.settings.Settings` has them too, and
    takes half a second to import."""
    return Tables(
        f"{stack}-windows", f"{stack}-devices", f"{stack}-status", f"{stack}-alerts" * alerts
    )


def application(
    environment: Mapping[str, str], client: Any, shadows: Shadows | None = None
) -> Claimed:
    """The application of a deployment.

    :param environment: ``PENSTOCK_STACK`` and ``PENSTOCK_TIERS`` (JSON); and, where they are set,
        ``PENSTOCK_UNITS`` (JSON), ``PENSTOCK_ALERTS`` and the names of two claims.
    :param client: what calls DynamoDB.
    :param shadows: what reads commands to devices; nothing here sends them.
    """
    alerts = environment.get("PENSTOCK_ALERTS") == "true"
    feed = Feed(
        client,
        tables_of(environment["PENSTOCK_STACK"], alerts=alerts),
        now_ms=lambda: time.time_ns() // 1_000_000,
        fastest_s=FASTEST_S,
        shadows=shadows,
    )
    names = ClaimNames(
        groups=environment.get("PENSTOCK_GROUPS_CLAIM", ClaimNames.groups),
        roles=environment.get("PENSTOCK_ROLES_CLAIM", ClaimNames.roles),
    )
    app = create_app(
        feed,
        [Tier(**one) for one in orjson.loads(environment["PENSTOCK_TIERS"])],
        Access(by_claims=True, claim_names=names),
        orjson.loads(environment.get("PENSTOCK_UNITS", "{}")),
        stateless=True,
    )
    return Claimed(app, feed)


def _handler() -> Mangum:
    session = get_session()

    def make(service: str) -> Any:
        return session.create_client(service, region_name=os.environ["AWS_REGION"], config=_CONFIG)

    shadows = Shadows(LateClient(lambda: make("iot-data")))
    return Mangum(application(os.environ, make("dynamodb"), shadows), lifespan="off")


handler: Final = _handler() if "AWS_LAMBDA_FUNCTION_NAME" in os.environ else None
"""What Lambda calls; made once a process. There is none where this is imported elsewhere."""
