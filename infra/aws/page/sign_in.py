"""Where the page's users sign in: what ``config.json`` tells the page.

A user pool's addresses follow from its domain (Cognito developer guide, "User pool endpoints and
managed login reference"); those of another issuer are in what it says of itself (OpenID Connect
Discovery 1.0; "OpenID Connect RP-Initiated Logout 1.0"; RFC 7009 for revocation).
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

TIMEOUT_S: Final = 10.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

Document = Mapping[str, Any]


class SignInError(Exception):
    """The issuer cannot be used; the text is one sentence that says what to do."""


def discover(issuer: str) -> Document:
    """What an issuer says of itself.

    :raises SignInError: when it does not answer with the addresses that the page needs.
    """
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise SignInError(f"{issuer} is no address of an issuer: it begins with https://")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked above
            found: Document = json.load(answer)
        _ = found["authorization_endpoint"], found["token_endpoint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SignInError(
            f"{issuer} does not say where users sign in ({type(error).__name__}: {error}): give "
            "the parameter Issuer as the tokens' `iss` has it"
        ) from None
    return found


def of_pool(base: str) -> Document:
    """A user pool's addresses, at its domain.

    >>> of_pool("https://x.auth.eu-west-1.amazoncognito.com")["token_endpoint"]
    'https://x.auth.eu-west-1.amazoncognito.com/oauth2/token'
    """
    return {
        "authorization_endpoint": f"{base}/oauth2/authorize",
        "token_endpoint": f"{base}/oauth2/token",
        "revocation_endpoint": f"{base}/oauth2/revoke",
        "logout_endpoint": f"{base}/logout",
    }


def origin(document: Document) -> str:
    """Where the page gets its tokens, as a content security policy names it."""
    parts = urlsplit(str(document["token_endpoint"]))
    return f"{parts.scheme}://{parts.netloc}"


def config(document: Document, outputs: Mapping[str, str]) -> dict[str, Any]:
    """The page's configuration.

    :param outputs: of the stack of ``api.yaml``.
    """
    client = outputs["PageClient"]
    return {
        "sign_in": {
            "client_id": client,
            "authorize": document["authorization_endpoint"],
            "token": document["token_endpoint"],
            "revoke": document.get("revocation_endpoint", ""),
            "sign_out": _sign_out(document, client),
            "scope": outputs["PageScope"],
            "sends": outputs["PageSends"],
        }
    }


def _sign_out(document: Document, client: str) -> str:
    """The address at which the issuer ends its session, up to where it shall return to."""
    named = f"client_id={quote(client, safe='')}"
    if pool := document.get("logout_endpoint"):
        return f"{pool}?{named}&logout_uri="
    if end := document.get("end_session_endpoint"):
        return f"{end}?{named}&post_logout_redirect_uri="
    return ""
