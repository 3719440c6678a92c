"""The windows of one tier that a shard has in memory, and which of them are written when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from consumers.hot.flush_queue import FlushQueue, share_of, wait
from consumers.hot.optimistic import OptimisticWriter
from consumers.hot.windows import Window, readings_of
from ingest.tables.hot import window_name
from ingest.tiers import Tier

PENDING_READINGS: Final = 100_000
"""The most unwritten readings of a tier. Above it, the windows due soonest are written early, as
when a worker catches up. It bounds memory."""

OPEN_WINDOWS: Final = 20_000
"""The most unwritten windows of a tier and, counted apart, the most written ones kept in memory.
When there are more written ones, all of them are dropped, and read again on demand."""

_NAMES_KEPT: Final = 4096


class TierWindows:
    """The windows of one tier: by device and start, and those with something to write."""

    def __init__(
        self, tier: Tier, writer: OptimisticWriter[Window], *, is_finest: bool = False
    ) -> None:
        self.tier = tier
        self.is_finest = is_finest
        self.writer = writer
        self.open: dict[tuple[str, int], Window] = {}
        self.queue: FlushQueue[Window] = FlushQueue(tier.flush_s)
        self.size_ms = tier.size_ms
        self.pending = 0
        self._names: dict[int, str] = {}

    def window(self, device: str, ts: int) -> Window:
        """The device's window that an event time (ms) belongs to."""
        start = ts - ts % self.size_ms
        window = self.open.get((device, start))
        if window is None:
            window = Window(device, self._name(start), start + self.size_ms)
            self.open[device, start] = window
        return window

    def _name(self, start: int) -> str:
        name = self._names.get(start)
        if name is None:
            if len(self._names) >= _NAMES_KEPT:
                self._names.clear()
            name = self._names[start] = window_name(self.tier.name, start)
        return name

    def enqueue(self, window: Window, now: float, epoch: int) -> None:
        """A window has its first reading that is not durable."""
        pause = wait(
            self.tier.flush_s,
            share=share_of(window.device),
            size_s=self.size_ms / 1000,
            first=window.ver == 0,
            weight=window.weight(),
            rested_s=now - window.written_at if self.is_finest else 0.0,
        )
        self.queue.add(window, now + pause, epoch)

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may wait in memory."""
        return self.pending >= PENDING_READINGS or self.queue.count >= OPEN_WINDOWS

    def take_due(self, now: float, *, timers: bool) -> list[Window]:
        """Remove and return the windows to be written now: those that are due, and if the tier is
        full, the next ones until half of what may wait is left."""
        taken = self.queue.take_due(now) if timers else []
        if self.is_full:
            left = self.pending - readings_of(taken)
            for some in self.queue.take_soonest():
                taken += some
                left -= readings_of(some)
                if left < PENDING_READINGS // 2 and self.queue.count < OPEN_WINDOWS // 2:
                    break
        return taken

    def written(self, windows: Iterable[Window], now: float, readings: int) -> None:
        """Windows are durable, and so many readings with them."""
        for window in windows:
            window.written_at = now
        self.pending = max(0, self.pending - readings) if self.queue.count else 0
        if len(self.open) - self.queue.count > OPEN_WINDOWS:
            self.open = {key: window for key, window in self.open.items() if window.pending}

    def forget(self, before: int) -> None:
        """Drop windows that are durable and were not touched since generation ``before``."""
        self.open = {key: w for key, w in self.open.items() if w.pending or w.touched >= before}
