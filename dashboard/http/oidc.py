"""Verifies the tokens of an OpenID Connect issuer: signature, issuer, audience and time.

Only signatures by a private key count: with HMAC whoever knows the issuer's public key could sign.
Keys come from the issuer's own address alone, whatever a token's header says.
"""

from __future__ import annotations

import json
import logging
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

import jwt

from dashboard.errors import AccessError, IssuerError

log: Final = logging.getLogger(__name__)

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384")
REQUIRED: Final = ("exp", "iss", "aud", "sub")
LEEWAY_S: Final = 30
"""How far the clocks of the issuer and of this machine may be apart."""

TIMEOUT_S: Final = 5.0
KEYS_S: Final = 300.0
"""How long keys are kept. A token by a key that is not known has them read again, at most every
half a minute (PyJWT's ``cooldown_duration``), so that made-up keys cost no request each."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Issuer:
    """One issuer, for one audience. It may be used from several threads.

    :param keys_url: where its public keys are, see :func:`discover`.
    """

    def __init__(self, issuer: str, audience: str, keys_url: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = jwt.PyJWKClient(keys_url, lifespan=KEYS_S, timeout=TIMEOUT_S)

    def claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token; ``None`` when it is not good. It may block, to read keys.

        :raises IssuerError: when the issuer's keys cannot be read.
        """
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            return jwt.decode(
                token, key, algorithms=ALGORITHMS, audience=self._audience, issuer=self._issuer,
                leeway=LEEWAY_S, options={"require": list(REQUIRED)},
            )  # fmt: skip
        except jwt.PyJWKClientConnectionError as error:
            raise IssuerError(f"the keys of {self._issuer} cannot be read: {error}") from None
        except jwt.PyJWTError as error:
            log.info("a token is refused: %s", error)
            return None


def discover(issuer: str, audience: str) -> Issuer:
    """The issuer, by what it says of itself (OpenID Connect Discovery 1.0, section 4).

    :raises AccessError: when it does not answer, is another one, or could be read and changed on
        the way.
    """
    _check_private(issuer)
    try:
        with urllib.request.urlopen(  # noqa: S310 - checked above
            f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout=TIMEOUT_S
        ) as answer:
            found = json.load(answer)
        named, keys_url = str(found["issuer"]), str(found["jwks_uri"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AccessError(
            f"{issuer} does not say where its keys are ({type(error).__name__}: {error}): give "
            "--oidc-issuer as the tokens' `iss` has it"
        ) from None
    if named != issuer:
        raise AccessError(f"{issuer} calls itself {named}: give that to --oidc-issuer")
    _check_private(keys_url)
    return Issuer(issuer, audience, keys_url)


def _check_private(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return
    raise AccessError(f"{url} is no address of an issuer: it begins with https://")
