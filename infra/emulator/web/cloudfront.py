"""CloudFront reaches an HTTP API as an origin.

Sources: CloudFront developer guide, "Use various origins with CloudFront distributions" (Amazon API
Gateway); API Gateway developer guide, "Invoke URL": an API answers at its own host name, another
one gets 403. MiniStack refuses origins at host names of AWS but for S3, load balancers and function
URLs.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qs

_HOST: Final = re.compile(r"([a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")
_FORBIDDEN: Final = (
    403, "Forbidden", {"content-type": "application/json"}, b'{"message":"Forbidden"}',
)  # fmt: skip


def api_of(host: str) -> str | None:
    """The id in an HTTP API's host name; ``None`` for another host.

    >>> api_of("a1b2c3d4.execute-api.eu-west-1.amazonaws.com")
    'a1b2c3d4'
    """
    found = _HOST.fullmatch(host.lower())
    return found[1] if found else None


def serve_apis_as_origins() -> None:
    """Answer a request to such an origin as a request to its host is."""
    from ministack import app
    from ministack.services import cloudfront

    original = cloudfront._fetch_from_origin

    async def fetch(
        origin: dict[str, Any], method: str, uri: str, query: str, headers: dict[str, Any],
        body: bytes, is_https: bool, client_ip: str, forwarded_for: str, arn: str,
    ) -> Any:  # fmt: skip
        api = api_of(origin["domain_name"])
        if api is None:
            return await original(
                origin, method, uri, query, headers, body, is_https, client_ip, forwarded_for, arn
            )
        sent = cloudfront._origin_request_headers(origin, headers, client_ip, forwarded_for)
        sent = {name.lower(): value for name, value in sent.items()}
        if sent["host"].lower() != origin["domain_name"].lower():
            return _FORBIDDEN
        path = f"/_aws/execute-api/{api}/$default{origin.get('origin_path') or ''}{uri}"
        status, answered, content = await app._handle_execute_api_request(
            "localhost", path, method, sent, body or b"",
            parse_qs(query, keep_blank_values=True), path, query,
        )  # fmt: skip
        return status, "", cloudfront._multidict_from_pairs(answered.items()), content

    cloudfront._fetch_from_origin = fetch
