"""The keys and the metadata of segments, the objects of the archive.

A segment is a run of consecutive records of one shard within one arrival hour. Its key names
its first record, so two workers that start at the same record compete for the same object,
and creating that object is the commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from consumers.kcl.position import Position, position

PREFIX: Final = "telemetry/v1"
HOUR_MS: Final = 3_600_000

_NAME: Final = re.compile(r"(?P<shard>.+)-(?P<sequence>\d+)\.(?P<sub>\d+)\.parquet")
_KEY: Final = re.compile(rf"{PREFIX}/dt=(\d{{4}}-\d\d-\d\d)/hour=(\d\d)/{_NAME.pattern}")


class KeyParts(NamedTuple):
    """What a segment's key says: its shard, its first record, its arrival hour since 1970."""

    shard: str
    first: Position
    hour: int


def object_key(shard: str, first: Position, hour: int) -> str:
    """The key of the segment that begins at ``first`` in arrival hour ``hour`` (since 1970)."""
    return f"{hour_prefix(shard, hour)}{first.sequence}.{first.sub}.parquet"


def hour_prefix(shard: str, hour: int) -> str:
    """The prefix of the keys of all segments of a shard and hour."""
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{PREFIX}/dt={moment:%Y-%m-%d}/hour={moment:%H}/{shard}-"


def first_of(key: str) -> Position | None:
    """The position in a segment's key, or ``None`` when it is not one."""
    match = _NAME.fullmatch(key.rsplit("/", 1)[-1])
    return position(match["sequence"], int(match["sub"])) if match else None


def parts_of(key: str) -> KeyParts | None:
    """What a segment's whole key says, or ``None`` when it is not one.

    >>> key = object_key("shardId-000000000003", position("49", 0), 498_727)
    >>> key
    'telemetry/v1/dt=2026-11-23/hour=07/shardId-000000000003-49.0.parquet'
    >>> parts_of(key)
    KeyParts(shard='shardId-000000000003', first=Position(width=2, sequence='49', sub=0), \
hour=498727)
    """
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    moment = datetime.fromisoformat(f"{match[1]}T{match[2]}:00+00:00")
    first = position(match["sequence"], int(match["sub"]))
    return KeyParts(match["shard"], first, int(moment.timestamp()) // 3600)


def may_cover(keys: Iterable[str], position: Position) -> str | None:
    """Of an hour's segments, the only one that can hold ``position``: the last that begins at or
    before it."""
    firsts = [(first, key) for key in keys if (first := first_of(key)) and first <= position]
    return max(firsts)[1] if firsts else None


def last_metadata(last: Position, records: int, rows: int) -> dict[str, str]:
    """The metadata of a segment's object: its last record, from which the next segment follows."""
    return {
        "last-sequence": last.sequence,
        "last-sub": str(last.sub),
        "records": str(records),
        "rows": str(rows),
    }


def last_of(metadata: Mapping[str, Any]) -> Position:
    """The last record of a committed segment, from its object's metadata."""
    return position(metadata["last-sequence"], int(metadata["last-sub"]))
