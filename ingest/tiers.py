"""Tiers: the sizes of window that readings are folded into."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NAME: Final = re.compile(r"([1-9][0-9]{0,3})([smhd])")

LATE_MARGIN: Final = 0.1
"""The share of a tier's time to live, at its end, in which a reading is already late: an
item that is about to expire must not be written as if it were new."""


@dataclass(frozen=True, slots=True)
class Tier:
    """One size of window.

    ``name`` is its length as in ``10s``, ``1m``, ``1h``; ``flush_s`` is the longest that a
    folded reading waits before its window is written (s); ``ttl_s`` is how long after its
    end a window stays in the hot table (s).
    """

    name: str
    flush_s: float
    ttl_s: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or 86_400_000 % self.size_ms:
            raise ValueError(
                f"tier {self.name!r}: its name is its length, a divisor of a day, as 10s, 1m or 1h"
            )
        if self.flush_s <= 0 or self.ttl_s <= 0:
            raise ValueError(f"tier {self.name}: flush_s and ttl_s must be greater than 0")

    @property
    def size_ms(self) -> int:
        """The window's length in ms."""
        match = _NAME.fullmatch(self.name)
        return int(match[1]) * _UNITS[match[2]] * 1000 if match else 0

    @property
    def oldest_ms(self) -> int:
        """How far behind ``received_at`` (ms) a reading may be and still be folded here."""
        return int(self.ttl_s * 1000 * (1 - LATE_MARGIN))


DEFAULT_TIERS: Final = (
    Tier("1m", flush_s=1.0, ttl_s=7 * 86400),
    Tier("1h", flush_s=30.0, ttl_s=400 * 86400),
)
"""For AWS: a minute's windows for a week, an hour's for a year and a bit."""

LOCAL_TIERS: Final = (
    Tier("10s", flush_s=0.25, ttl_s=6 * 3600),
    Tier("1m", flush_s=2.0, ttl_s=7 * 86400),
    Tier("1h", flush_s=3.0, ttl_s=400 * 86400),
)
"""For local runs: the first window closes while the user is still watching."""
