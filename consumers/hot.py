"""The hot store of one shard: windows and device states in memory, and when they are written.

Folding touches memory only. A window's stored item is read just before its first write; from
then on the copy here is the base of the next write, until a conflict says that another worker
wrote too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from consumers.items import DeviceCodec, WindowCodec
from consumers.judge import Judge
from consumers.latest import DeviceState
from consumers.optimistic import OptimisticWriter, Store
from consumers.retry import Backoff
from consumers.windows import FoldedReading, Window, has_room, window_name
from ingest.tiers import Tier

_NAMES_KEPT: Final = 4096


class TierWindows:
    """The windows of one tier: by device and start, and those with something to write."""

    def __init__(self, tier: Tier, writer: OptimisticWriter[Window]) -> None:
        self.tier = tier
        self.writer = writer
        self.open: dict[tuple[str, int], Window] = {}
        self.dirty: dict[Window, None] = {}
        self.flushed_at = 0.0
        self._size = tier.size_ms
        self._names: dict[int, str] = {}

    def window(self, device: str, ts: int) -> Window:
        """The device's window that an event time (ms) belongs to."""
        start = ts - ts % self._size
        window = self.open.get((device, start))
        if window is None:
            window = Window(device, self._name(start), start + self._size)
            self.open[device, start] = window
        return window

    def _name(self, start: int) -> str:
        name = self._names.get(start)
        if name is None:
            if len(self._names) >= _NAMES_KEPT:
                self._names.clear()
            name = self._names[start] = window_name(self.tier, start)
        return name

    def flush(self) -> None:
        """Make every dirty window durable."""
        self.writer.write([window for window in self.dirty if window.pending])
        self.dirty.clear()

    def forget(self, before: int) -> None:
        """Drop windows that are durable and were not touched since generation ``before``."""
        self.open = {key: w for key, w in self.open.items() if w.pending or w.touched >= before}


class HotStore:
    """Folds accepted readings and makes them durable, per tier and for the roster."""

    def __init__(
        self,
        store: Store,
        *,
        windows_table: str,
        devices_table: str,
        tiers: Sequence[Tier],
        latest_flush_s: float,
        judge: Judge,
        now_ms: Callable[[], int],
        durable: Callable[[Sequence[FoldedReading]], None],
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        """``durable`` hears of readings the first time that any tier holds them for good."""
        self._judge = judge
        self._durable = durable
        self._latest_flush_s = latest_flush_s
        self._latest_flushed_at = 0.0
        self._generation = 0
        self._devices: dict[str, DeviceState] = {}
        self._device_writer = OptimisticWriter(store, DeviceCodec(devices_table), backoff)
        self.tiers: list[TierWindows] = []
        for index, tier in enumerate(tiers):
            settled = self._first_settled if index == 0 else _ignored
            codec = WindowCodec(windows_table, tier, now_ms, settled)
            self.tiers.append(TierWindows(tier, OptimisticWriter(store, codec, backoff)))

    def fold(
        self, device: str, readings: Sequence[tuple[FoldedReading, int]], received_at: int
    ) -> None:
        """Fold a record's accepted readings, each with the age (ms) it was judged at.

        All or nothing: when one of them raises, none of them is left in any window.
        """
        touched: list[Window] = []
        try:
            for reading, age in readings:
                for index in self._judge.tiers(age):
                    tier = self.tiers[index]
                    window = tier.window(device, reading.ts)
                    touched.append(window)
                    if window.fold(reading):
                        window.pending.append(reading)
                        tier.dirty[window] = None
                        window.touched = self._generation
        except Exception:
            _take_back(touched, [reading for reading, _ in readings])
            raise
        state = self._device(device)
        for reading, _ in readings:
            state.merge_reading(*reading, received_at)

    def has_room(self, device: str, reading: FoldedReading, age: int) -> bool:
        """Whether every window that the reading belongs to can take it."""
        return all(
            has_room(self.tiers[index].window(device, reading.ts), reading)
            for index in self._judge.tiers(age)
        )

    def flush_due(self, now: float) -> None:
        """Write the tiers whose flush interval has passed; ``now`` is monotonic (s)."""
        for tier in self.tiers:
            if now - tier.flushed_at >= tier.tier.flush_s:
                tier.flushed_at = now
                tier.flush()
        if now - self._latest_flushed_at >= self._latest_flush_s:
            self._latest_flushed_at = now
            self._flush_devices()

    def flush_all(self) -> None:
        """Return when everything folded so far is durable."""
        for tier in self.tiers:
            tier.flush()
        self._flush_devices()

    def forget_idle(self) -> None:
        """Bound memory: drop what is durable and has not been touched for two commits."""
        self._generation += 1
        for tier in self.tiers:
            tier.forget(self._generation - 1)
        self._devices = {
            name: state
            for name, state in self._devices.items()
            if state.dirty or state.touched >= self._generation - 1
        }

    @property
    def conflicts(self) -> int:
        """Items that another writer had changed, since this process started."""
        return self._device_writer.conflicts + sum(t.writer.conflicts for t in self.tiers)

    @property
    def throttled(self) -> int:
        """Statements that DynamoDB throttled, since this process started."""
        return self._device_writer.throttled + sum(t.writer.throttled for t in self.tiers)

    def _device(self, device: str) -> DeviceState:
        state = self._devices.get(device)
        if state is None:
            state = self._devices[device] = DeviceState(device)
        state.touched = self._generation
        return state

    def _flush_devices(self) -> None:
        self._device_writer.write([s for s in self._devices.values() if s.dirty])

    def _first_settled(self, window: Window) -> None:
        self._durable(window.pending)


def _ignored(window: Window) -> None:
    """Later tiers: their readings have been reported by the first."""


def _take_back(windows: Sequence[Window], readings: Sequence[FoldedReading]) -> None:
    """Undo a record's folds: its readings leave the pending ones, and the windows are rebuilt
    from their stored items at the next flush."""
    gone = {id(reading) for reading in readings}  # an equal one of another record stays
    for window in windows:
        window.pending = [reading for reading in window.pending if id(reading) not in gone]
        window.clear()
        window.loaded = False
        window.refold()
