"""Which readings a full window refuses, computed from the archive's rows.

A window is closed for good once its ids and metrics weigh :data:`CLOSED` bytes (decision 16).
This is part of the oracle, so it shares no code with the worker: the weights are written down
again, and a window is a set of ids, where the worker keeps ranges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from simulator.verification.observe import ArchiveRow, Observed
from simulator.verification.oracle import Rules

CLOSED: Final = 100_000
RANGE: Final = 34
BOOT: Final = 40
METRIC: Final = 330

NEARLY: Final = 20
"""Windows with less than one part in ``NEARLY`` of the ids and metrics that close one are not
looked at."""


class Place(NamedTuple):
    """Where a row's reading is in the stream."""

    shard: str
    sequence: str
    sub_sequence: int
    reading: int | None


def place_of(row: ArchiveRow) -> Place:
    """Where a row comes from."""
    return Place(row.shard_id, row.sequence_number, row.sub_sequence, row.reading)


class Room:
    """One window as the set of ids that it took."""

    def __init__(self) -> None:
        self._ids: set[tuple[str, int]] = set()
        self._boots: set[str] = set()
        self._metrics: set[str] = set()
        self._ranges = 0

    @property
    def weight(self) -> int:
        """The most bytes that ids and metrics take in the window's item."""
        return RANGE * self._ranges + BOOT * len(self._boots) + METRIC * len(self._metrics)

    def refuses(self, boot: str, seq: int) -> bool:
        """Whether the window is closed and does not hold the reading."""
        return self.weight >= CLOSED and (boot, seq) not in self._ids

    def take(self, boot: str, seq: int, metrics: Iterable[str]) -> None:
        """Add a reading; one that is held already changes nothing."""
        if (boot, seq) in self._ids:
            return
        neighbours = ((boot, seq - 1) in self._ids) + ((boot, seq + 1) in self._ids)
        self._ranges += 1 - neighbours
        self._ids.add((boot, seq))
        self._boots.add(boot)
        self._metrics.update(metrics)


def refused(
    observed: Observed, rules: Rules, not_judged: Collection[Place] = frozenset()
) -> set[Place]:
    """Where the rows are that must be archived as ``overflow``; those ``not_judged`` meet no
    window.

    A device's rows are judged in the order of the stream. Only devices that have such a row, or a
    window that may be full, are looked at: a set of every id of a large fleet takes much memory.
    """
    crowded = {row.device_id for row in observed.rows if row.disposition == "overflow"}
    crowded |= {device for (device, _), item in observed.windows.items() if _may_be_full(item)}
    rooms: dict[tuple[str | None, str, int], Room] = defaultdict(Room)
    found = set()
    rows = [row for row in observed.rows if row.device_id in crowded and row.boot is not None]
    for row in sorted(rows, key=_order):
        ts, received_at, metrics = row.ts or 0, row.received_at or 0, row.metrics or {}
        if rules.disposition(ts, metrics, received_at) != "ok" or place_of(row) in not_judged:
            continue
        assert row.boot is not None
        assert row.seq is not None
        boot, seq = row.boot, row.seq
        mine = [
            rooms[row.device_id, tier.name, ts // tier.size_ms]
            for tier in rules.tiers
            if received_at - ts <= tier.oldest_ms
        ]
        if any(room.refuses(boot, seq) for room in mine):
            found.add(place_of(row))
            continue
        for room in mine:
            room.take(boot, seq, metrics)
    return found


def _order(row: ArchiveRow) -> tuple[int, int, int]:
    return int(row.sequence_number), row.sub_sequence, row.reading or 0


def _may_be_full(item: Mapping[str, Any]) -> bool:
    """Whether a stored window has so many ranges of ids, or metrics, that it may be closed."""
    ids = item.get("ids", {}).get("M", {})
    ranges = sum(text.get("S", "").count(",") + 1 for text in ids.values())
    metrics = len(item.get("metrics", {}).get("M", {}))
    weight: int = RANGE * ranges + BOOT * len(ids) + METRIC * metrics
    return weight * NEARLY >= CLOSED
