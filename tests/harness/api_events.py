"""Requests to the read API as API Gateway hands them to a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TIERS: Final = (
    '[{"name": "10s", "flush_s": 1, "ttl_s": 60}, {"name": "1m", "flush_s": 1, "ttl_s": 60}]'
)
ADMIN: Final = {"sub": "kim", "custom:groups": "*", "cognito:groups": "[admin]"}


def event(path: str, claims: Mapping[str, str] | None = ADMIN) -> dict[str, Any]:
    """A request in payload format 2.0."""
    plain, _, query = path.partition("?")
    http = {"method": "GET", "path": plain, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"}
    authorizer = {} if claims is None else {"authorizer": {"jwt": {"claims": claims, "scopes": []}}}
    return {
        "version": "2.0", "routeKey": "GET /api/v1/{proxy+}", "rawPath": plain,
        "rawQueryString": query, "headers": {"host": "abc.execute-api.eu-west-1.amazonaws.com"},
        "requestContext": {"http": http, "stage": "$default", **authorizer},
        "isBase64Encoded": False,
    }  # fmt: skip
