"""Who may read the dashboard: on loopback everybody on the machine, beyond it only with a token
or through a trusted proxy. Also the security headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.errors import AccessError
from dashboard.http.responses import json_response

COOKIE: Final = "penstock_token"
COOKIE_AGE_S: Final = 30 * 86_400
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
SECURITY_HEADERS: Final = {
    b"content-security-policy": b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    b"form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


@dataclass(frozen=True)
class Access:
    """The rule. ``token`` is a shared secret; ``user_header`` the header in which an OIDC proxy in
    front names the user, and which nobody else can set because only the proxy reaches the port."""

    token: str | None = None
    user_header: str | None = None

    def check_address(self, host: str) -> None:
        """:raises AccessError: when ``host`` is beyond loopback and nothing guards it."""
        if not is_loopback(host) and not (self.token or self.user_header):
            raise AccessError(
                f"{host} can be reached from other machines: set a token "
                "(PENSTOCK_DASHBOARD_TOKEN), or put an OIDC proxy in front of it and name its "
                "user header (--user-header)"
            )

    def allows(self, headers: Mapping[str, str], query_token: str | None) -> bool:
        """Whether a request with these headers (lower case) may be answered."""
        if self.user_header and headers.get(self.user_header.lower()):
            return True
        if self.token:
            given = (query_token, _bearer(headers), _cookie(headers))
            return any(hmac.compare_digest(self.token, one) for one in given if one)
        if self.user_header:
            return False
        return _host(headers) in LOOPBACK_NAMES  # a page elsewhere may have rebound its name


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

        request = Request(scope)
        token = request.query_params.get("token")
        headers = {name.lower(): value for name, value in request.headers.items()}
        if scope["path"] == "/healthz" or self._access.allows(headers, token):
            if token and self._access.token:
                await self._enter(token)(scope, receive, guarded)
            else:
                await self._app(scope, receive, guarded)
            return
        refusal = json_response(
            {"error": "access is by token: /?token=…, or Authorization: Bearer …"}, 401
        )
        await refusal(scope, receive, guarded)

    @staticmethod
    def _enter(token: str) -> Response:
        """Keep the token in a cookie, and take it out of the address."""
        response = Response(status_code=303, headers={"Location": "/"})
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", max_age=COOKIE_AGE_S)
        return response


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bearer(headers: Mapping[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


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
