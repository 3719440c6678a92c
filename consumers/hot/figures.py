"""What a hot store holds at a moment, for the report of its shard. Asked for once a second."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from consumers.hot.store import HotStore


class Figures(NamedTuple):
    """Counts since the process began, and what is in memory now. ``epochs`` are those of
    :class:`consumers.hot.flush_queue.FlushQueue` of which something is not durable."""

    conflicts: int
    throttled: int
    items_written: int
    pending_readings: int
    pending_windows: int
    open_windows: int
    epochs: Collection[int]


def figures(hot: HotStore) -> Figures:
    """The figures of a hot store now. Readings and windows are counted once in each tier."""
    return Figures(
        conflicts=hot.conflicts,
        throttled=hot.throttled,
        items_written=hot.items_written,
        pending_readings=sum(tier.pending for tier in hot.tiers),
        pending_windows=sum(tier.queue.count for tier in hot.tiers),
        open_windows=sum(len(tier.open) for tier in hot.tiers),
        epochs=hot.pending_epochs(),
    )


class PendingSince:
    """Since when the oldest change waits that is not durable.

    A queue knows epochs (a segment's time each), not times. So this remembers when it saw each
    epoch first; the answer is at most one segment, and one report, older than the truth.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def oldest(self, epochs: Collection[int], now_ms: int) -> int | None:
        """When (ms) the oldest of these epochs was seen first; ``None`` without one."""
        self._seen = {epoch: self._seen.get(epoch, now_ms) for epoch in epochs}
        return min(self._seen.values(), default=None)
