"""Windows: the aggregates of one device over one span, and the fold of readings into them.

The fold is a function of the *set* of readings: any order, any duplicates, any number of
crashes give the same item. ``first`` and ``last`` are by event time; of two readings with the
same ``ts`` the greater value counts as the later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Final

from consumers.hot.flush_queue import NEVER, NOT_WRITTEN
from consumers.hot.metric import Metric
from consumers.hot.runs import METRIC_BYTES, Kept, Run, compact
from ingest.id_ranges import IdSet
from ingest.tiers import Tier

MAX_MAGNITUDE: Final = 1e60
"""The greatest metric value that is folded. DynamoDB numbers end at 1e126, and a window holds
sums of squares; a reading beyond it is archived as ``out_of_range``."""

MAX_WEIGHT: Final = 100_000
"""Bytes of ids and metrics from which on a window is closed, see :func:`has_room`. DynamoDB takes
items of 400 KB: a window weighs at most this and one reading (22 KB) for each worker that writes
it at the same time, and those are one, or two while a lease changes hands."""


COMPACT_FROM: Final = 4
"""Pending entries from which on :meth:`Window.compact` works."""


class Window:
    """One window of one device.

    ``ver`` is the stored item's version (0: not stored), ``loaded`` whether the stored item
    has been read. ``pending`` are the readings folded here and not yet durable, in the order in
    which they arrived: they are folded again on top of an item that another worker wrote.
    ``slot`` and ``epoch`` belong to the :class:`~consumers.hot.flush_queue.FlushQueue`.
    ``written_at`` is when this process wrote it last (monotonic, s).
    """

    __slots__ = (
        "compact_at", "device", "end", "epoch", "first_ts", "ids", "last_ts", "loaded", "metrics",
        "n", "name", "pending", "slot", "touched", "ver", "written_at",
    )  # fmt: skip

    def __init__(self, device: str, name: str, end: int) -> None:
        self.device = device
        self.name = name
        self.end = end
        self.loaded = False
        self.pending: list[Kept] = []
        self.compact_at = COMPACT_FROM
        self.slot = NEVER
        self.epoch = 0
        self.touched = 0
        self.written_at = NOT_WRITTEN
        self.clear()

    def clear(self) -> None:
        """Become an empty window without a stored item."""
        self.ver = 0
        self.ids = IdSet()
        self.n = self.first_ts = self.last_ts = 0
        self.metrics: dict[str, Metric] = {}

    def refold(self) -> None:
        """Fold the pending runs again, and keep as pending what was not here yet. The last step of
        :meth:`consumers.hot.items.WindowCodec.merge_stored`."""
        self.pending = [part for kept in self.pending for part in self.fold(kept.run())]

    def take_back(self, gone: Set[int]) -> int:
        """Remove pending runs, by their ``id()``; how many readings that were. The window is
        rebuilt from its stored item when it is loaded next."""
        before = readings_of([self])
        self.pending = [kept for kept in self.pending if id(kept) not in gone]
        self.clear()
        self.loaded = False
        self.refold()
        return before - readings_of([self])

    def compact(self) -> None:
        """Keep the pending readings in less memory, if there are many."""
        if len(self.pending) >= self.compact_at:
            self.pending = compact(self.pending)
            self.compact_at = max(COMPACT_FROM, 2 * len(self.pending))

    def fold(self, run: Run) -> Sequence[Run]:
        """Fold a run; return the parts of it that were not here yet. The rest are duplicates and
        change nothing."""
        fresh = self.ids.add(run.boot, run.seq, run.end)
        if len(fresh) == 1 and fresh[0] == (run.seq, run.end):
            self._merge(run)
            return (run,)
        parts = [run.part(start, end) for start, end in fresh]
        for part in parts:
            self._merge(part)
        return parts

    def _merge(self, run: Run) -> None:
        """Add the aggregates of a run of which no id was here."""
        if self.n == 0:
            self.first_ts, self.last_ts = run.oldest, run.newest
        else:
            if run.newest > self.last_ts:
                self.last_ts = run.newest
            if run.oldest < self.first_ts:
                self.first_ts = run.oldest
        self.n += run.end - run.seq
        metrics = self.metrics
        for name, metric in run.metrics.items():
            mine = metrics.get(name)
            if mine is None:
                metrics[name] = metric.copied()
            else:
                mine.merge(metric)

    def weight(self) -> int:
        """The most bytes of the item that depend on what is folded."""
        return self.ids.weight() + METRIC_BYTES * len(self.metrics)


def readings_of(windows: Iterable[Window]) -> int:
    """Readings of the windows that are not durable."""
    return sum(len(kept) for window in windows for kept in window.pending)


def has_room(window: Window, boot: str, seq: int) -> bool:
    """Whether the window, which must be loaded, takes a reading.

    A window that weighs :data:`MAX_WEIGHT` is closed for good: it takes nothing more, whether or
    not that would make it grow, so it stays closed and every replay decides the same. What it
    holds is a duplicate, and a duplicate is welcome. Only a device that invents metric names or
    scatters its sequence numbers over windows ever meets this; its readings are then archived as
    ``overflow``.
    """
    return window.weight() < MAX_WEIGHT or (boot, seq) in window.ids


def window_start(tier: Tier, ts: int) -> int:
    """Start (ms) of the tier's window that an event time belongs to; windows align to UTC."""
    return ts - ts % tier.size_ms
