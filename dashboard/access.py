"""Who may look. On loopback everybody on the machine; beyond it, a token or a trusted proxy."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final

COOKIE: Final = "penstock_token"
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class AccessError(Exception):
    """The dashboard would be open to everybody; the text says what to do."""


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
