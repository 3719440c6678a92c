"""How far a table reaches in the archive: of each shard, the last segment that is in it.

A snapshot of a table carries this in its summary, so rows and positions move in one commit. Within
a shard, segments follow one another: what comes after the position is not in the table, and all
that comes before it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from consumers.archive.segment_key import HOUR_MS, first_of
from consumers.kcl.position import Position
from lake.archive.segments import Segment

_SHARD: Final = "penstock.last-segment."
_FROM: Final = "penstock.from-hour"


class Reached(NamedTuple):
    """Of each shard, the key of the last segment that is in the table. Segments that are not in it
    have ``from_hour`` (since 1970) or a later one."""

    last: Mapping[str, str] = {}
    from_hour: int | None = None

    @property
    def start_ms(self) -> int | None:
        """From when on segments must be listed to find all that are not in the table."""
        return None if self.from_hour is None else self.from_hour * HOUR_MS

    def has(self, segment: Segment) -> bool:
        """Whether the segment is in the table."""
        last = self.last.get(segment.shard)
        return last is not None and segment.first <= _first(last)

    def after(self, segments: Iterable[Segment]) -> Reached:
        """The positions once these segments, which follow, are in the table too."""
        last = dict(self.last)
        for one in segments:
            if one.shard not in last or one.first > _first(last[one.shard]):
                last[one.shard] = one.key
        return self._replace(last=last)


def summary_of(reached: Reached) -> dict[str, str]:
    """The positions as properties of a snapshot."""
    hour = {} if reached.from_hour is None else {_FROM: str(reached.from_hour)}
    return {**{f"{_SHARD}{shard}": key for shard, key in reached.last.items()}, **hour}


def reached_in(summary: Mapping[str, str]) -> Reached:
    """The positions in a snapshot's summary."""
    last = {k.removeprefix(_SHARD): v for k, v in summary.items() if k.startswith(_SHARD)}
    hour = summary.get(_FROM)
    return Reached(last, None if hour is None else int(hour))


def oldest_hour(now_ms: int, retention_hours: int) -> int:
    """The first hour of which segments can still be committed: the stream has no older records. An
    hour more allows for clocks."""
    return now_ms // HOUR_MS - retention_hours - 1


def _first(key: str) -> Position:
    first = first_of(key)
    if first is None:
        raise ValueError(f"a snapshot's position is no segment: {key}")
    return first
