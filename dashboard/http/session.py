"""A browser's session: a signed date of expiry in a cookie, which is not the token itself.

The signing key is made of the token, so that sessions outlive a restart, hold on every instance
behind one address, and end when the token is changed. Nothing is stored.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

SESSION_S: Final = 12 * 3600
"""How long a browser stays in: a working day."""

_PURPOSE: Final = b"penstock dashboard session v1"


def make_session(token: str, now_s: float) -> str:
    """A session that begins now, as ``<expiry>.<signature>``."""
    expiry = str(int(now_s) + SESSION_S)
    return f"{expiry}.{_signature(token, expiry)}"


def is_session(token: str, session: str, now_s: float) -> bool:
    """Whether this is a session of this token that has not ended.

    >>> session = make_session("secret", 1000)
    >>> is_session("secret", session, 1000), is_session("secret", session, 1000 + SESSION_S)
    (True, False)
    """
    expiry, _, signature = session.partition(".")
    if not (expiry.isascii() and expiry.isdigit()) or len(expiry) > len(str(2**63)):
        return False
    wanted = _signature(token, expiry)
    return hmac.compare_digest(wanted.encode(), _bytes(signature)) and now_s < int(expiry)


def _signature(token: str, expiry: str) -> str:
    key = hmac.digest(token.encode(), _PURPOSE, hashlib.sha256)
    return hmac.new(key, expiry.encode(), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
