"""What the compactor does next. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from lake.catalog.index import CompactedFile

DAY_MS: Final = 86_400_000
FILE_BYTES: Final = 128 * 1024 * 1024
"""A file ends at this size: large enough that a query of a day reads few, small enough that
engines read several at once."""

MOST_FILES: Final = 24
"""Files of a day that are left as they are while the day goes on: one an hour."""

SETTLED_MS: Final = 3_600_000
"""After its end a day has this long to get most of its late readings before it is merged."""


class Day(NamedTuple):
    """A UTC day (since 1970) and its files."""

    day: int
    files: Sequence[CompactedFile]


def days_to_merge(
    files: Iterable[CompactedFile], now_ms: int, file_bytes: int = FILE_BYTES
) -> list[Day]:
    """Days whose files become fewer when they are merged: days that are over, and a day with more
    than :data:`MOST_FILES`. A day with a late reading has one file more and is merged again; no
    other day is touched."""
    by_day: dict[int, list[CompactedFile]] = defaultdict(list)
    for one in files:
        by_day[one.day].append(one)
    found = []
    for day, mine in sorted(by_day.items()):
        is_over = (day + 1) * DAY_MS + SETTLED_MS <= now_ms
        # A merged file can be smaller than the sum: a third more than the fewest is left alone.
        fewest = max(1, -(-sum(one.size for one in mine) // file_bytes))
        if (is_over and len(mine) > fewest + fewest // 3) or len(mine) > MOST_FILES + fewest:
            found.append(Day(day, mine))
    return found


def of_days(files: Iterable[CompactedFile], days: Iterable[int]) -> list[CompactedFile]:
    """The files of some days."""
    wanted = set(days)
    return [one for one in files if one.day in wanted]
