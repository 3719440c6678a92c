"""Windows: the aggregates of one device over one span, and the fold of a reading into them.

The fold is a function of the *set* of readings: any order, any duplicates, any number of
crashes give the same item. ``first`` and ``last`` are by event time; of two readings with the
same ``ts`` the greater value counts as the later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from consumers.ids import IdSet
from ingest.tiers import Tier

MAX_MAGNITUDE: Final = 1e60
"""The greatest metric value that is folded. DynamoDB numbers end at 1e126, and a window holds
sums of squares; a reading beyond it is archived as ``out_of_range``."""

MAX_WEIGHT: Final = 150_000
"""Bytes of ids and metrics at which a window takes no reading that would make it grow: an item
may have 400 KB, and a conflict can add what another worker folded. See :func:`has_room`."""

_METRIC_BYTES: Final = 330
_EPOCH_TEXT: Final = "%Y-%m-%dT%H:%M:%SZ"


class FoldedReading(NamedTuple):
    """A reading as it waits to be durable: identity, event time (ms) and metrics."""

    boot: str
    seq: int
    ts: int
    metrics: Mapping[str, float]


class Metric:
    """What a window keeps of one metric. ``first_at`` and ``last_at`` are event times (ms)."""

    __slots__ = ("first", "first_at", "last", "last_at", "m2", "max", "mean", "min", "n", "sum")

    def __init__(self, value: float, ts: int) -> None:
        self.n = 1
        self.sum = self.min = self.max = self.mean = self.first = self.last = value
        self.m2 = 0.0
        self.first_at = self.last_at = ts

    def add(self, value: float, ts: int) -> None:
        """Take one more value (Welford's update for ``mean`` and ``m2``)."""
        self.n = n = self.n + 1
        self.sum += value
        delta = value - self.mean
        self.mean = mean = self.mean + delta / n
        self.m2 += delta * (value - mean)
        if value < self.min:
            self.min = value
        elif value > self.max:
            self.max = value
        if ts >= self.last_at:
            if ts > self.last_at or value > self.last:
                self.last = value
            self.last_at = ts
        if ts <= self.first_at:
            if ts < self.first_at or value < self.first:
                self.first = value
            self.first_at = ts


class Window:
    """One window of one device.

    ``ver`` is the stored item's version (0: not stored), ``loaded`` whether the stored item
    has been read. ``pending`` are the readings folded here and not yet durable, in the order
    they came: what is folded again on top of an item that another worker wrote.
    """

    __slots__ = (
        "device", "end", "first_ts", "ids", "last_ts", "loaded", "metrics", "n", "name",
        "pending", "touched", "ver",
    )  # fmt: skip

    def __init__(self, device: str, name: str, end: int) -> None:
        self.device = device
        self.name = name
        self.end = end
        self.loaded = False
        self.pending: list[FoldedReading] = []
        self.touched = 0
        self.clear()

    def clear(self) -> None:
        """Hold nothing, as a window that no item is stored for."""
        self.ver = 0
        self.ids = IdSet()
        self.n = self.first_ts = self.last_ts = 0
        self.metrics: dict[str, Metric] = {}

    def refold(self) -> None:
        """Fold the pending readings again, and keep as pending those that were not here yet."""
        self.pending = [reading for reading in self.pending if self.fold(reading)]

    def fold(self, reading: FoldedReading) -> bool:
        """Fold one reading in; ``False`` when its id was here already and nothing changed."""
        boot, seq, ts, values = reading
        if not self.ids.add(boot, seq):
            return False
        if self.n == 0:
            self.first_ts = self.last_ts = ts
        elif ts > self.last_ts:
            self.last_ts = ts
        elif ts < self.first_ts:
            self.first_ts = ts
        self.n += 1
        metrics = self.metrics
        for name, value in values.items():
            metric = metrics.get(name)
            if metric is None:
                metrics[name] = Metric(value, ts)
            else:
                metric.add(value, ts)
        return True

    def weight(self) -> int:
        """About how many bytes of the item grow with what is folded."""
        return self.ids.weight() + _METRIC_BYTES * len(self.metrics)


def has_room(window: Window, reading: FoldedReading) -> bool:
    """Whether the window can take the reading and stay an item that DynamoDB accepts.

    Only a device that invents metric names or numbers its readings at random ever meets this;
    its readings are then archived as ``overflow``.
    """
    if window.weight() < MAX_WEIGHT:
        return True
    return reading.metrics.keys() <= window.metrics.keys() and window.ids.is_next_to(
        reading.boot, reading.seq
    )


def window_start(tier: Tier, ts: int) -> int:
    """Start (ms) of the tier's window that an event time belongs to; windows align to UTC."""
    return ts - ts % tier.size_ms


def window_name(tier: Tier, start: int) -> str:
    """The range key: ``1m#2026-11-23T07:45:00Z``."""
    moment = datetime.fromtimestamp(start / 1000, UTC)
    return f"{tier.name}#{moment.strftime(_EPOCH_TEXT)}"
