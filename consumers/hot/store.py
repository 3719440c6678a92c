"""The hot store of one shard: windows and device states in memory, and when they are written.

A window's stored item is read before anything is folded into it (:meth:`HotStore.load`): whether
there is room is judged on the item as it will be written. From then on the copy here is the base of
the next write, until a conflict says that another worker wrote too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls, OneAtATime
from consumers.hot.device_state import DeviceState
from consumers.hot.items import DeviceCodec, WindowCodec
from consumers.hot.optimistic import OptimisticWriter, Store, Work, read_all, write_all
from consumers.hot.runs import Run, Span
from consumers.hot.windows import MAX_WEIGHT, Window, has_room
from ingest.tables.hot import window_name
from ingest.tiers import Tier

PENDING_READINGS: Final = 100_000
"""Readings that one tier lets wait for its next flush; a flush comes early when there are more,
as when a worker catches up. It bounds memory, as the next one does."""

OPEN_WINDOWS: Final = 20_000
"""Windows that one tier keeps in memory; of more, the durable ones are dropped and read again
when a reading comes for them."""

_NAMES_KEPT: Final = 4096


class TierWindows:
    """The windows of one tier: by device and start, and those with something to write."""

    def __init__(self, tier: Tier, writer: OptimisticWriter[Window]) -> None:
        self.tier = tier
        self.writer = writer
        self.open: dict[tuple[str, int], Window] = {}
        self.dirty: dict[Window, None] = {}
        self.flushed_at = 0.0
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

    def is_due(self, now: float) -> bool:
        """Whether the time (s) or what has gathered asks for a flush."""
        return (
            now - self.flushed_at >= self.tier.flush_s
            or self.pending >= PENDING_READINGS
            or len(self.dirty) >= OPEN_WINDOWS
        )

    def to_write(self) -> list[Window]:
        """The windows that have something to write."""
        return [window for window in self.dirty if window.pending]

    def flushed(self) -> None:
        """Everything that :meth:`to_write` gave is durable."""
        self.dirty.clear()
        self.pending = 0
        if len(self.open) > OPEN_WINDOWS:
            self.open.clear()

    def forget(self, before: int) -> None:
        """Drop windows that are durable and were not touched since generation ``before``."""
        self.open = {key: w for key, w in self.open.items() if w.pending or w.touched >= before}


Placed = tuple[TierWindows, Window, Run]
"""A run and a window that takes it."""


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
        now_ms: Callable[[], int],
        durable: Callable[[str, Sequence[Run]], None],
        backoff: Callable[[], Backoff] = Backoff,
        calls: Calls | None = None,
    ) -> None:
        """``durable`` is called with runs when the finest tier has made them durable; ``calls``
        says how many calls are in flight at once, one if it is not given."""
        self._calls: Calls = calls or OneAtATime()
        self._backoff = backoff
        self._durable = durable
        self._latest_flush_s = latest_flush_s
        self._latest_flushed_at = 0.0
        self._generation = 0
        self._span: Span = (0, 0)
        self._devices: dict[str, DeviceState] = {}
        self._device_writer = OptimisticWriter(store, DeviceCodec(devices_table))
        self.tiers: list[TierWindows] = []
        for index, tier in enumerate(tiers):
            settled = self._first_settled if index == 0 else _ignored
            codec = WindowCodec(windows_table, tier, now_ms, settled)
            self.tiers.append(TierWindows(tier, OptimisticWriter(store, codec)))

    def span(self, ts: int) -> Span:
        """The event times (ms) around this one that are in the same window of every tier."""
        start, end = self._span
        if not start <= ts < end:
            starts = [ts - ts % tier.size_ms for tier in self.tiers]
            end = min(at + tier.size_ms for at, tier in zip(starts, self.tiers, strict=True))
            self._span = max(starts), end
        return self._span

    def place(self, device: str, run: Run, tiers: Sequence[int]) -> list[Placed]:
        """The windows of these tiers that the run belongs to."""
        every, ts = self.tiers, run.oldest
        return [(every[index], every[index].window(device, ts), run) for index in tiers]

    def load(self, placed: Iterable[Placed]) -> None:
        """Read the stored items of the windows that were not read yet.

        :raises StoreError, GaveUpError: as the store does.
        """
        unread: dict[Window, TierWindows] = {
            window: tier for tier, window, _ in placed if not window.loaded
        }
        if unread:
            by_tier: dict[TierWindows, list[Window]] = {}
            for window, tier in unread.items():
                by_tier.setdefault(tier, []).append(window)
            work = [(tier.writer, windows) for tier, windows in by_tier.items()]
            read_all(work, self._calls, self._backoff)

    def fold(self, device: str, placed: Iterable[Placed], received_at: int) -> None:
        """Fold a device's runs, received until then, into their windows, which are loaded.

        ``placed`` may be an iterator that judges each reading after the one before it was folded.
        All or nothing: when one of them raises, none of them is left in any window.
        """
        folded: list[tuple[Window, Run]] = []
        taken: list[Run] = []
        try:
            for tier, window, run in placed:
                taken.append(run)
                folded.append((window, run))
                for part in window.fold(run):
                    window.pending.append(part)
                    folded.append((window, part))
                    tier.pending += len(part)
                    tier.dirty[window] = None
                    window.touched = self._generation
        except Exception:
            _take_back(folded)
            raise
        if not taken:
            return
        state = self._device(device)
        latest = None
        for run in taken:
            if run is not latest:
                state.merge_run(run, received_at)
                latest = run

    def is_due(self, now: float) -> bool:
        """Whether :meth:`flush_due` would write; ``now`` is monotonic (s)."""
        return self._latest_is_due(now) or any(tier.is_due(now) for tier in self.tiers)

    def flush_due(self, now: float) -> None:
        """Write the tiers whose flush interval has passed, or that hold much."""
        tiers = [tier for tier in self.tiers if tier.is_due(now)]
        for tier in tiers:
            tier.flushed_at = now
        latest = self._latest_is_due(now)
        if latest:
            self._latest_flushed_at = now
        self._flush(tiers, latest=latest)

    def _latest_is_due(self, now: float) -> bool:
        return now - self._latest_flushed_at >= self._latest_flush_s

    def flush_all(self) -> None:
        """Return when everything folded so far is durable."""
        self._flush(self.tiers, latest=True)

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

    def _flush(self, tiers: Sequence[TierWindows], *, latest: bool) -> None:
        """Write what is dirty of these tiers, and of the roster, with all calls in flight
        together."""
        work: list[Work] = [(tier.writer, tier.to_write()) for tier in tiers]
        if latest:
            work.append((self._device_writer, [s for s in self._devices.values() if s.dirty]))
        write_all(work, self._calls, self._backoff)
        for tier in tiers:
            tier.flushed()
        if latest and len(self._devices) > OPEN_WINDOWS:
            self._devices.clear()

    def _first_settled(self, window: Window) -> None:
        self._durable(window.device, window.pending)


def _ignored(window: Window) -> None:
    """For the coarser tiers: the finest one reports their readings."""


def are_loaded(placed: Iterable[Placed]) -> bool:
    """Whether the stored items of all these windows have been read."""
    return all(window.loaded for _, window, _ in placed)


def has_room_for_all(placed: Sequence[Placed]) -> bool:
    """Whether the windows, which are loaded, take all of the runs, in whatever order. When not,
    some reading of them may still find room."""
    growth = 0
    for _, _, run in placed:
        growth += run.growth()
    return all(window.weight() + growth < MAX_WEIGHT for _, window, _ in placed)


def has_room_for_one(placed: Sequence[Placed]) -> bool:
    """Whether each of the windows, which are loaded, takes a run of one reading."""
    return all(has_room(window, run) for _, window, run in placed)


def _take_back(folded: Sequence[tuple[Window, Run]]) -> None:
    """Undo folds: remove the runs from the pending ones; the windows are rebuilt from their
    stored items when they are loaded next."""
    gone = {id(run) for _, run in folded}  # an equal one of another record stays
    for window in {id(window): window for window, _ in folded}.values():
        window.pending = [run for run in window.pending if id(run) not in gone]
        window.clear()
        window.loaded = False
        window.refold()
