"""Histograms of durations that can be added up across processes: bucket *b* ends at 1.05^b ms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

_LOG_BASE: Final = math.log(1.05)


class Histogram:
    """Counts of durations (ms). A percentile read from it is at most 5% too high."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, ms: float) -> None:
        """Count one duration; less than 1 ms counts as 1 ms."""
        bucket = math.ceil(math.log(ms) / _LOG_BASE) if ms > 1 else 0
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def add_counts(self, counts: Mapping[int, int]) -> None:
        """Add another histogram's counts to this one."""
        for bucket, count in counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def merge(self, others: Iterable[Histogram]) -> Histogram:
        """A histogram of all the durations in this one and the others."""
        merged = Histogram(self.counts)
        for other in others:
            merged.add_counts(other.counts)
        return merged

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self.counts.values())

    def percentile(self, share: float) -> float | None:
        """The duration (ms) that ``share`` (0 to 1) of the counted ones did not exceed; ``None``
        when none was counted."""
        wanted = math.ceil(share * self.total)
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return round(math.exp(bucket * _LOG_BASE), 1)
        return None

    def at_most(self, ms: float) -> int:
        """How many of the counted durations are in buckets that end at or before ``ms``."""
        last = math.floor(math.log(ms) / _LOG_BASE + 1e-9)
        return sum(count for bucket, count in self.counts.items() if bucket <= last)

    def approximate_sum(self) -> float:
        """The sum (ms) of the counted durations, each counted as its bucket's end."""
        return sum(count * math.exp(bucket * _LOG_BASE) for bucket, count in self.counts.items())
