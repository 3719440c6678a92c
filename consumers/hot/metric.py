"""The aggregates of one metric in a window, and their merge."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct


class Metric(Struct, gc=False):
    """Aggregates of ``n`` values; ``first_at`` and ``last_at`` are event times (ms).

    ``m2`` is the sum of squared distances from ``mean``. ``first`` is the value of the earliest
    event time and ``last`` of the latest; of two values of the same ms, the greater counts as
    the later.
    """

    n: int
    sum: float
    min: float
    max: float
    mean: float
    m2: float
    first: float
    first_at: int
    last: float
    last_at: int

    def copied(self) -> Metric:
        """A copy that can be merged into."""
        return Metric(self.n, self.sum, self.min, self.max, self.mean, self.m2, self.first,
                      self.first_at, self.last, self.last_at)  # fmt: skip

    def merge(self, other: Metric) -> None:
        """Add the aggregates of other values (Chan's formula for ``mean`` and ``m2``)."""
        mine, theirs = self.n, other.n
        self.n = n = mine + theirs
        self.sum += other.sum
        delta = other.mean - self.mean
        self.mean += delta * theirs / n
        self.m2 += other.m2 + delta * delta * mine * theirs / n
        if other.min < self.min:
            self.min = other.min
        if other.max > self.max:
            self.max = other.max
        at = other.last_at
        if at >= self.last_at:
            if at > self.last_at or other.last > self.last:
                self.last = other.last
            self.last_at = at
        at = other.first_at
        if at <= self.first_at:
            if at < self.first_at or other.first < self.first:
                self.first = other.first
            self.first_at = at


def of_one(value: float, ts: int) -> Metric:
    """The aggregates of one value; a bool counts as 0.0 or 1.0, here and below."""
    value = float(value)
    return Metric(1, value, value, value, value, 0.0, value, ts, value, ts)


class Ends:
    """The oldest and the newest ``ts`` (ms) of a column, and the indices of the readings that have
    them."""

    __slots__ = ("newest", "newest_at", "oldest", "oldest_at")

    def __init__(self, ts: Sequence[int]) -> None:
        ordered = sorted(ts)
        self.oldest, self.newest = ordered[0], ordered[-1]
        if ordered == ts and (len(ts) == 1 or (ts[0] != ts[1] and ts[-1] != ts[-2])):
            self.oldest_at: Sequence[int] = _FIRST
            self.newest_at: Sequence[int] = _LAST
        else:
            self.oldest_at = [place for place, at in enumerate(ts) if at == self.oldest]
            self.newest_at = [place for place, at in enumerate(ts) if at == self.newest]


_FIRST, _LAST = (0,), (-1,)


def of_column(values: Sequence[float], ends: Ends) -> Metric:
    """The aggregates of a column of values, one for each reading. Uses C built-ins only."""
    n, total = len(values), float(sum(values))
    mean = total / n
    distance = math.dist(values, [mean] * n)
    first, last = ends.oldest_at, ends.newest_at
    return Metric(
        n,
        total,
        float(min(values)),
        float(max(values)),
        mean,
        distance * distance,
        float(values[first[0]] if len(first) == 1 else min([values[at] for at in first])),
        ends.oldest,
        float(values[last[0]] if len(last) == 1 else max([values[at] for at in last])),
        ends.newest,
    )


def of_sparse_column(values: Sequence[float | None], ts: Sequence[int]) -> Metric:
    """The same for a column in which some readings, but not all, lack the metric."""
    carried = [(value, at) for value, at in zip(values, ts, strict=True) if value is not None]
    return of_column([value for value, _ in carried], Ends([at for _, at in carried]))
