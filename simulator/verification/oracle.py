"""The oracle: the windows and latest states that must exist, computed from what was sent.

This is the oracle, so it shares no code with the worker: it sorts and sums where the worker
folds. Only the contract (``ingest``) is common to both.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from ingest.tiers import Tier

LARGEST = 1e60


class Sent(NamedTuple):
    """A reading that the stream took; times in ms. ``received_at`` holds those of all records
    that it came in."""

    device: str
    boot: str
    seq: int
    ts: int
    metrics: Mapping[str, float]
    received_at: tuple[int, ...]


class Metric(NamedTuple):
    """A metric of a window. ``scale`` (the sum of magnitudes) bounds the rounding of ``sum``
    and ``mean``, ``squares`` (the sum of squares) that of ``m2``."""

    n: int
    sum: float
    min: float
    max: float
    mean: float
    m2: float
    first: float
    last: float
    scale: float
    squares: float


@dataclass(frozen=True)
class Window:
    """A window's content; ``expires_at`` is in s, the other times in ms."""

    n: int
    first_ts: int
    last_ts: int
    expires_at: int
    ids: Mapping[str, str]
    metrics: Mapping[str, Metric]


@dataclass(frozen=True)
class Latest:
    """A device's newest values, name to (value, ts), and its newest reading's identity."""

    metrics: Mapping[str, tuple[float, int]]
    last_ts: int
    boot: str
    seq: int


@dataclass(frozen=True)
class Rules:
    """The tiers and limits that the worker was given."""

    tiers: Sequence[Tier]
    clock_ahead_s: int

    def disposition(self, ts: int, metrics: Mapping[str, float], received_at: int) -> str:
        """What becomes of a reading that came in a record of this time (ms)."""
        if ts > received_at + self.clock_ahead_s * 1000:
            return "clock_ahead"
        if all(received_at - ts > tier.oldest_ms for tier in self.tiers):
            return "late"
        if any(abs(value) > LARGEST for value in metrics.values()):
            return "out_of_range"
        return "ok"

    def accepts(self, reading: Sent, tier: Tier) -> bool:
        """Whether any of the reading's records puts it into the tier."""
        return any(
            self.disposition(reading.ts, reading.metrics, at) == "ok"
            and at - reading.ts <= tier.oldest_ms
            for at in reading.received_at
        )


def windows(sent: Iterable[Sent], rules: Rules) -> dict[tuple[str, str], Window]:
    """Every window that must exist, by (device, window name). ``sent`` is in the order of arrival:
    of an identity that came with several contents, a window holds the first that fell into it."""
    members: dict[tuple[str, Tier, int], dict[tuple[str, int], Sent]] = defaultdict(dict)
    for reading in sent:
        for tier in rules.tiers:
            if rules.accepts(reading, tier):
                start = reading.ts // tier.size_ms * tier.size_ms
                mine = members[reading.device, tier, start]
                mine.setdefault((reading.boot, reading.seq), reading)
    return {
        (device, f"{tier.name}#{_iso(start)}"): _window(
            list(readings.values()), (start + tier.size_ms) // 1000 + tier.ttl_s
        )
        for (device, tier, start), readings in members.items()
    }


def latest(sent: Iterable[Sent], rules: Rules) -> dict[str, Latest]:
    """Every device's latest state."""
    members: dict[str, list[Sent]] = defaultdict(list)
    for reading in sent:
        if any(rules.accepts(reading, tier) for tier in rules.tiers):
            members[reading.device].append(reading)
    return {device: _latest(readings) for device, readings in members.items()}


def ranges(numbers: Iterable[int]) -> str:
    """Distinct numbers as sorted ranges, ``1-60,62``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _window(readings: Sequence[Sent], expires_at: int) -> Window:
    boots: dict[str, list[int]] = defaultdict(list)
    names: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for reading in readings:
        boots[reading.boot].append(reading.seq)
        for name, value in reading.metrics.items():
            names[name].append((reading.ts, value))
    times = [reading.ts for reading in readings]
    return Window(
        n=len(readings),
        first_ts=min(times),
        last_ts=max(times),
        expires_at=expires_at,
        ids={boot: ranges(seqs) for boot, seqs in boots.items()},
        metrics={name: _metric(points) for name, points in names.items()},
    )


def _metric(points: Sequence[tuple[int, float]]) -> Metric:
    values = [value for _, value in points]
    total = math.fsum(values)
    mean = total / len(values)
    return Metric(
        n=len(values),
        sum=total,
        min=min(values),
        max=max(values),
        mean=mean,
        m2=math.fsum((value - mean) ** 2 for value in values),
        first=min(points)[1],
        last=max(points)[1],
        scale=math.fsum(map(abs, values)),
        squares=math.fsum(value * value for value in values),
    )


def _latest(readings: Sequence[Sent]) -> Latest:
    newest = max(readings, key=lambda r: (r.ts, r.boot, r.seq))
    metrics: dict[str, tuple[int, float]] = {}
    for reading in readings:
        for name, value in reading.metrics.items():
            metrics[name] = max(metrics.get(name, (reading.ts, value)), (reading.ts, value))
    return Latest(
        {name: (value, ts) for name, (ts, value) in metrics.items()},
        newest.ts,
        newest.boot,
        newest.seq,
    )


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")
