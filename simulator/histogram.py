"""Durations in buckets 5% wide, which can be added up across processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

_WIDTH: Final = math.log(1.05)


class Histogram:
    """Counts of durations (ms) by bucket."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, ms: float) -> None:
        """Count one."""
        bucket = math.ceil(math.log(max(ms, 0.1)) / _WIDTH)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, counts: Mapping[int, int]) -> None:
        """Add another's counts."""
        for bucket, count in counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def percentile(self, share: float) -> float | None:
        """The duration (ms) that this share did not exceed, or ``None`` of nothing."""
        left = share * sum(self.counts.values())
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return round(math.exp(bucket * _WIDTH), 1)
        return None
