"""Who asks, and whether they may: on loopback everybody on the machine, beyond it only with a
token, through a trusted proxy, or both. Also the security headers of every answer.

A request that is let in has a :class:`~dashboard.principal.Principal`, which decides what it sees.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.errors import AccessError, IssuerError
from dashboard.http.responses import json_response
from dashboard.http.session import SESSION_S, is_session, make_session
from dashboard.principal import COGNITO, EVERYTHING, ClaimNames, Principal, principal_of

log: Final = logging.getLogger(__name__)

OPEN_PATH: Final = "/healthz"
"""What everybody may ask."""

CLAIMS: Final = "penstock.claims"
"""The key of an ASGI scope under which whoever calls the application hands over the claims of a
token that it has verified, as the Lambda function behind API Gateway does. No client can set it."""

COOKIE: Final = "penstock_session"
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
LOOPBACK_NETWORKS: Final = ("127.0.0.0/8", "::1/128")
SECURITY_HEADERS: Final = {
    b"content-security-policy": b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    b"form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}
_PRINCIPAL: Final = "penstock.principal"
_JWT_DOTS: Final = 2

Claims = Mapping[str, Any]


class Asked(NamedTuple):
    """What a request shows of who sends it: its headers (lower-case names), the token in its
    address, and the address that it comes from (``None`` where the server does not know)."""

    headers: Mapping[str, str]
    query_token: str | None = None
    peer: str | None = None


class SharedToken(NamedTuple):
    """A secret, and who has it. Without a principal that is everybody's: it sees and does
    everything."""

    secret: str
    principal: Principal = EVERYTHING


@dataclass(frozen=True)
class Access:
    """The rule. ``token`` is a shared secret, with ``scope`` what it is good for; ``tokens`` are
    further ones. ``user_header`` is the header in which an OIDC proxy in front names the user.
    Where both are set, both are required. The header counts only in requests from ``proxies``
    (networks, as ``10.0.0.7/32``): anybody else could set it too.

    ``verify`` gives the claims of a JSON Web Token, or ``None`` when it is not good; it may block.
    With ``by_claims`` nobody is let in but by the claims that the ASGI scope holds.
    """

    token: str | None = None
    user_header: str | None = None
    proxies: tuple[str, ...] = LOOPBACK_NETWORKS
    clock: Callable[[], float] = time.time
    scope: Principal = EVERYTHING
    tokens: tuple[SharedToken, ...] = ()
    verify: Callable[[str], Claims | None] | None = None
    by_claims: bool = False
    claim_names: ClaimNames = COGNITO

    def check_address(self, host: str) -> None:
        """:raises AccessError: when ``host`` is beyond loopback and nothing guards it, or a proxy
        is no network."""
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise AccessError(
                    f"{proxy} is no address and no network: name the proxy's, as 10.0.0.7 or "
                    "10.0.0.0/24"
                ) from None
        if not is_loopback(host) and not self._is_guarded:
            raise AccessError(
                f"{host} can be reached from other machines: set a token "
                "(PENSTOCK_DASHBOARD_TOKEN), name the issuer of your users' tokens "
                "(--oidc-issuer), or put an OIDC proxy in front of it and name its user header "
                "(--user-header)"
            )

    def principal(self, asked: Asked, claims: Claims | None = None) -> Principal | None:
        """Who sends a request; ``None`` when it must not be answered.

        :param claims: of a token that was verified, if there is one.
        """
        if claims is not None:
            found = principal_of(claims, self.claim_names)
            return found if found.until_s is None or self.clock() < found.until_s else None
        if self.by_claims or (self.user_header and not self._names_user(asked)):
            return None
        user = asked.headers[self.user_header.lower()] if self.user_header else ""
        if self.shared:
            token = self.token_of(asked)
            if token is None:
                return None
            return replace(token.principal, name=user) if user else token.principal
        if self.user_header:
            return Principal(user)
        if self.verify:
            return None
        # A page elsewhere may rebind its name.
        return Principal() if _host(asked.headers) in LOOPBACK_NAMES else None

    @property
    def shared(self) -> tuple[SharedToken, ...]:
        """Every shared token."""
        return ((SharedToken(self.token, self.scope),) if self.token else ()) + self.tokens

    @property
    def _is_guarded(self) -> bool:
        return bool(self.shared or self.user_header or self.verify or self.by_claims)

    def token_of(self, asked: Asked) -> SharedToken | None:
        """The shared token that a request shows, or whose session it has."""
        now = self.clock()
        given = (
            (asked.query_token or "").encode("utf-8", "replace"),
            # ASGI's headers are bytes, which Starlette reads as Latin-1.
            bearer(asked).encode("latin-1", "replace"),
        )
        session = _cookie(asked.headers)
        found = [
            token
            for token in self.shared
            if _is_one_of(token.secret.encode(), given) or is_session(token.secret, session, now)
        ]
        return found[0] if found else None

    def is_from_proxy(self, asked: Asked) -> bool:
        """Whether a trusted proxy sends it, whose headers can be believed."""
        try:
            peer = ipaddress.ip_address(asked.peer or "")
        except ValueError:
            return False
        return any(peer in ipaddress.ip_network(proxy) for proxy in self.proxies)

    def is_secure(self, asked: Asked, scheme: str) -> bool:
        """Whether the browser speaks TLS, to this server or to a trusted proxy."""
        forwarded = asked.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
        return scheme == "https" or (forwarded == "https" and self.is_from_proxy(asked))

    def _names_user(self, asked: Asked) -> bool:
        named = asked.headers.get(str(self.user_header).lower())
        return bool(named) and self.is_from_proxy(asked)


class Guard:
    """An ASGI application around another: checks access first, and puts the security headers on
    every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI calls it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *SECURITY_HEADERS.items()]
            await send(message)

        if scope["path"] == OPEN_PATH:
            await self._app(scope, receive, guarded)
            return
        request = Request(scope)
        asked = Asked(
            {name.lower(): value for name, value in request.headers.items()},
            request.query_params.get("token"),
            request.client.host if request.client else None,
        )
        try:
            claims = await self._claims(scope, asked)
        except IssuerError as error:
            log.warning("%s", error)
            refusal = json_response({"error": "the issuer of tokens does not answer"}, 503)
            await refusal(scope, receive, guarded)
            return
        principal = self._access.principal(asked, claims)
        if principal is None:
            refusal = json_response({"error": _refusal(self._access)}, 401)
            await refusal(scope, receive, guarded)
            return
        if asked.query_token and (token := self._access.token_of(asked)) is not None:
            secure = self._access.is_secure(asked, scope.get("scheme", "http"))
            await self._enter(token.secret, secure)(scope, receive, guarded)
            return
        scope[_PRINCIPAL] = principal
        await self._app(scope, receive, guarded)

    async def _claims(self, scope: Scope, asked: Asked) -> Claims | None:
        """The claims that the caller of the application has verified, or those of the request's own
        token when it is good."""
        verified: Claims | None = scope.get(CLAIMS)
        token, verify = bearer(asked), self._access.verify
        if verified is not None or verify is None or token.count(".") != _JWT_DOTS:
            return verified
        return await run_in_threadpool(verify, token)

    def _enter(self, token: str, secure: bool) -> Response:
        """Begin a session, and take the token out of the address."""
        response = Response(status_code=303, headers={"Location": "/"})
        session = make_session(token, self._access.clock())
        response.set_cookie(
            COOKIE, session, httponly=True, samesite="strict", secure=secure, max_age=SESSION_S
        )
        return response


def principal_of_request(request: Request) -> Principal:
    """Who sends a request that was let in.

    :raises KeyError: when no :class:`Guard` has let it in.
    """
    found: Principal = request.scope[_PRINCIPAL]
    return found


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(access: Access) -> str:
    direct = "access is by token: /?token=…, or Authorization: Bearer …"
    if access.by_claims or (access.verify and not access.shared):
        return "sign in: access is by a token of the issuer, as Authorization: Bearer …"
    if access.user_header:
        by_proxy = "access is through the proxy that signs users in"
        return f"{by_proxy}, and by token" if access.shared else by_proxy
    return direct


def bearer(asked: Asked) -> str:
    """The token that a request shows in its header; empty without one."""
    kind, _, token = asked.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _is_one_of(secret: bytes, given: tuple[bytes, ...]) -> bool:
    return any([hmac.compare_digest(secret, one) for one in given])  # noqa: C419 - compares all


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _host(headers: Mapping[str, str]) -> str:
    host = headers.get("host", "")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
