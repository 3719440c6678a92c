"""Times as people write them, ISO 8601, to ms since the epoch and back. UTC everywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_MS: Final = re.compile(r"-?\d{1,17}")


def parse_time(text: str) -> int:
    """A time in ms since 1970: ISO 8601, a date alone included, or the number itself. A time
    without an offset is UTC.

    >>> parse_time("2026-11-24T07:45Z") == parse_time("2026-11-24T08:45:00+01:00")
    True
    >>> parse_time("2026-11-24")
    1795478400000

    :raises ValueError: for a text that is no time; its message shows how to write one.
    """
    if _MS.fullmatch(text):
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r:.60} is no time: write it as 2026-11-24T07:45:00Z, or as ms since 1970"
        ) from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def show_time(ms: int) -> str:
    """A time in UTC, to the second, for a person.

    >>> show_time(1795478400000)
    '2026-11-24 00:00:00'
    """
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
