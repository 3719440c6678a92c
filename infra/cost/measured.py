"""What this version was measured to write: item writes a message, and archived bytes a reading.

``infra/measured.json`` is written by ``python -m benchmarks.writes``, which runs the real shard
processor in virtual time and the real segment writer; a unit test measures some of it again. In
between, figures are interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ingest.tiers import Tier

TABLE: Final = Path(__file__).parents[1] / "measured.json"
ROSTER: Final = "devices"


class HotPolicy(Struct, frozen=True):
    """The settings that decide how often items are written. Times are in s."""

    tiers: tuple[Tier, ...]
    latest_flush_s: float
    segment_age_s: float


class HotWrites(Struct, frozen=True):
    """Item writes a message: ``windows`` by tier, and the ``roster``; ``reads`` are items read
    a message, of both tables."""

    windows: Mapping[str, float]
    roster: float
    reads: float

    @property
    def total(self) -> float:
        """Of every kind."""
        return sum(self.windows.values()) + self.roster


class Measured(Struct, frozen=True):
    """One row: a freshness at one message interval (s). With ``acknowledge`` each commit writes
    what waits."""

    freshness: str
    every_s: float
    writes: HotWrites
    acknowledge: bool = False


class Measurements(Struct, frozen=True):
    """The file: policies by the name of their freshness, the rows, and for a reading of so many
    metrics its bytes in the archive."""

    policies: Mapping[str, HotPolicy]
    rows: tuple[Measured, ...]
    archive_bytes: Mapping[int, float]


@cache
def measurements() -> Measurements:
    """What was measured for this version."""
    return msgspec.json.decode(TABLE.read_bytes(), type=Measurements)


def writes_a_message(
    table: Measurements, freshness: str, every_s: float, *, acknowledge: bool = False
) -> HotWrites:
    """Between two measured intervals: straight lines over logarithms, which is exact where writes
    are in proportion to the interval, and where each message is a write. Beyond the ends: as at
    the end, which is too much for more frequent messages, never too little.

    :raises KeyError: when the freshness was not measured.
    """
    rows = sorted(
        (r for r in table.rows if (r.freshness, r.acknowledge) == (freshness, acknowledge)),
        key=lambda row: row.every_s,
    )
    if not rows:
        raise KeyError(freshness)
    every_s = min(max(every_s, rows[0].every_s), rows[-1].every_s)
    low, high = _neighbours(rows, every_s)
    span = math.log(high.every_s / low.every_s)
    share = math.log(every_s / low.every_s) / span if span else 0.0
    return HotWrites(
        windows={
            tier: _between(count, high.writes.windows[tier], share)
            for tier, count in low.writes.windows.items()
        },
        roster=_between(low.writes.roster, high.writes.roster, share),
        reads=_between(low.writes.reads, high.writes.reads, share),
    )


def archived_bytes(table: Measurements, metrics: int) -> float:
    """Bytes of a reading in the archive: straight lines between measured numbers of metrics, and
    on along the last one."""
    points = sorted(table.archive_bytes.items())
    (low, small), (high, large) = next(
        (pair for pair in pairwise(points) if metrics <= pair[1][0]), (points[-2], points[-1])
    )
    return max(0.0, small + (large - small) * (metrics - low) / (high - low))


def _neighbours(rows: Sequence[Measured], every_s: float) -> tuple[Measured, Measured]:
    return next(
        ((low, high) for low, high in pairwise(rows) if every_s <= high.every_s),
        (rows[-1], rows[-1]),
    )


def _between(low: float, high: float, share: float) -> float:
    if low <= 0 or high <= 0:
        return low + (high - low) * share
    return math.exp(math.log(low) + (math.log(high) - math.log(low)) * share)
