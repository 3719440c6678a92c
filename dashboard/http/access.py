"""Who may read the dashboard: on loopback everybody on the machine, beyond it only with a token,
through a trusted proxy, or both. Also the security headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.errors import AccessError
from dashboard.http.responses import json_response
from dashboard.http.session import SESSION_S, is_session, make_session

COOKIE: Final = "penstock_session"
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
LOOPBACK_NETWORKS: Final = ("127.0.0.0/8", "::1/128")
SECURITY_HEADERS: Final = {
    b"content-security-policy": b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    b"form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}
_USER: Final = "penstock.user"


class Asked(NamedTuple):
    """What a request shows of who sends it: its headers (lower-case names), the token in its
    address, and the address that it comes from (``None`` where the server does not know)."""

    headers: Mapping[str, str]
    query_token: str | None = None
    peer: str | None = None


@dataclass(frozen=True)
class Access:
    """The rule. ``token`` is a shared secret; ``user_header`` the header in which an OIDC proxy in
    front names the user. Where both are set, both are required. The header counts only in requests
    from ``proxies`` (networks, as ``10.0.0.7/32``): anybody else could set it too."""

    token: str | None = None
    user_header: str | None = None
    proxies: tuple[str, ...] = LOOPBACK_NETWORKS
    clock: Callable[[], float] = time.time

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
        if not is_loopback(host) and not (self.token or self.user_header):
            raise AccessError(
                f"{host} can be reached from other machines: set a token "
                "(PENSTOCK_DASHBOARD_TOKEN), or put an OIDC proxy in front of it and name its "
                "user header (--user-header)"
            )

    def allows(self, asked: Asked) -> bool:
        """Whether a request may be answered."""
        if self.user_header and not self._names_user(asked):
            return False
        if self.token:
            return self._has_token(self.token, asked)
        if self.user_header:
            return True
        return _host(asked.headers) in LOOPBACK_NAMES  # a page elsewhere may rebind its name

    def user(self, asked: Asked) -> str:
        """Who asks, as the trusted proxy names the user; empty without one."""
        if self.user_header and self._names_user(asked):
            return asked.headers[self.user_header.lower()]
        return ""

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

    def _has_token(self, token: str, asked: Asked) -> bool:
        wanted = token.encode()
        given = (
            (asked.query_token or "").encode("utf-8", "replace"),
            # ASGI's headers are bytes, which Starlette reads as Latin-1.
            _bearer(asked.headers).encode("latin-1", "replace"),
        )
        found = [hmac.compare_digest(wanted, one) for one in given]
        return any(found) or is_session(token, _cookie(asked.headers), self.clock())


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
        asked = Asked(
            {name.lower(): value for name, value in request.headers.items()},
            request.query_params.get("token"),
            request.client.host if request.client else None,
        )
        scope[_USER] = self._access.user(asked)
        if scope["path"] == "/healthz" or self._access.allows(asked):
            if asked.query_token and self._access.token and scope["path"] != "/healthz":
                secure = self._access.is_secure(asked, scope.get("scheme", "http"))
                await self._enter(self._access.token, secure)(scope, receive, guarded)
            else:
                await self._app(scope, receive, guarded)
            return
        refusal = json_response({"error": _refusal(self._access)}, 401)
        await refusal(scope, receive, guarded)

    def _enter(self, token: str, secure: bool) -> Response:
        """Begin a session, and take the token out of the address."""
        response = Response(status_code=303, headers={"Location": "/"})
        session = make_session(token, self._access.clock())
        response.set_cookie(
            COOKIE, session, httponly=True, samesite="strict", secure=secure, max_age=SESSION_S
        )
        return response


def user_of(request: Request) -> str:
    """Who sends a request that was let in, as the proxy names the user; empty without one."""
    return str(request.scope.get(_USER, ""))


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
    if access.user_header:
        by_proxy = "access is through the proxy that signs users in"
        return f"{by_proxy}, and by token" if access.token else by_proxy
    return direct


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
