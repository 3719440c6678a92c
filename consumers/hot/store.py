"""The hot store of one shard: windows and device states in memory, and when they are written.

A window's stored item is read before anything is folded into it (:meth:`HotStore.load`): whether
there is room is judged on the item as it will be written. From then on the copy here is the base of
the next write, until a conflict says that another worker wrote too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from consumers import failpoints
from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls, OneAtATime
from consumers.hot import tier_windows
from consumers.hot.device_state import DeviceState
from consumers.hot.flush_queue import NEVER, FlushQueue, share_of, wait
from consumers.hot.items import DeviceCodec, WindowCodec
from consumers.hot.optimistic import OptimisticWriter, Store, Work, read_all, write_all
from consumers.hot.runs import Kept, Run, Span
from consumers.hot.tier_windows import TierWindows
from consumers.hot.windows import Window, readings_of
from ingest.tiers import Tier

FOLD_S: Final = 1.0
PROMPT_FOLD_S: Final = 0.25
"""The longest that a record waits to be folded (s), and where a viewer or an alert rule waits."""


Where = tuple[TierWindows, Window]
"""A window and its tier."""

Evaluate = Callable[[Mapping[Window, Tier]], None]
"""Is given durable windows; returns when what follows from them is recorded."""

Decide = Callable[[Tier, Window], Sequence[Window]]
"""Is given a window that has changed; the windows from which an alarm follows once they are
durable."""

Placed = tuple[TierWindows, Window, Run]
"""A run and a window that takes it."""


class HotStore:
    """Folds accepted readings and makes them durable, per tier and for the roster."""

    def __init__(
        self,
        store: Store,
        *,
        windows_table: str,
        devices_table: str | None,
        tiers: Sequence[Tier],
        latest_flush_s: float,
        now_ms: Callable[[], int],
        durable: Callable[[str, Sequence[Kept]], None],
        backoff: Callable[[], Backoff] = Backoff,
        calls: Calls | None = None,
    ) -> None:
        """``durable`` is called with runs when the finest tier has made them durable; ``calls``
        says how many calls are in flight at once, one if it is not given. Without a
        ``devices_table`` windows alone are kept."""
        self._calls: Calls = calls or OneAtATime()
        self._backoff = backoff
        self._durable = durable
        self._latest_flush_s = latest_flush_s
        self._generation = self._epoch = 0
        self._watched: frozenset[str] = frozenset()
        self.now = self._queued_from = 0.0
        self.evaluate: Evaluate | None = None
        self.decide: Decide | None = None
        self._changed: dict[Window, TierWindows] = {}
        self._repeated: dict[Window, TierWindows] = {}
        self._span: Span = (0, 0)
        self._devices: dict[str, DeviceState] = {}
        self._device_queue: FlushQueue[DeviceState] = FlushQueue(latest_flush_s)
        self._device_writer: OptimisticWriter[DeviceState] | None = None
        if devices_table is not None:
            self._device_writer = OptimisticWriter(store, DeviceCodec(devices_table))
        self.tiers: list[TierWindows] = []
        for index, tier in enumerate(tiers):
            settled = self._first_settled if index == 0 else lambda _: None  # it tells for all
            codec = WindowCodec(windows_table, tier, now_ms, settled)
            self.tiers.append(
                TierWindows(tier, OptimisticWriter(store, codec), is_finest=index == 0)
            )

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
        return [(tier, window, run) for tier, window in self.windows(device, run.oldest, tiers)]

    def windows(self, device: str, ts: int, tiers: Sequence[int]) -> list[Where]:
        """The windows of these tiers that an event time (ms) of the device belongs to."""
        every = self.tiers
        return [(every[index], every[index].window(device, ts)) for index in tiers]

    def load(self, windows: Iterable[Where]) -> None:
        """Read the stored items of the windows that were not read yet.

        :raises StoreError, GaveUpError: as the store does.
        """
        unread: dict[Window, TierWindows] = {
            window: tier for tier, window in windows if not window.loaded
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
        folded: list[tuple[TierWindows, Window, Kept]] = []
        taken: list[Run] = []
        try:
            for tier, window, run in placed:
                taken.append(run)
                folded.append((tier, window, run))
                parts = window.fold(run)
                if not parts and self.evaluate is not None and window.slot == NEVER:
                    self._repeated[window] = tier
                for part in parts:
                    kept = part.kept()
                    window.pending.append(kept)
                    folded.append((tier, window, kept))
                    tier.pending += len(kept)
                    window.touched = self._generation
                    if window.slot == NEVER:
                        at = self.now if tier.is_finest else self._queued_from
                        tier.enqueue(window, at, self._epoch)
        except Exception:
            gone = {id(kept) for _, _, kept in folded}  # an equal one of another record stays
            for window, tier in {window: tier for tier, window, _ in folded}.items():
                tier.pending -= window.take_back(gone)
            raise
        if not taken:
            return
        for _, window, _ in folded:
            window.compact()
        if device in self._watched:
            self._hasten((tier, window) for tier, window, _ in folded)
        if self.decide is not None:
            self._changed |= {window: tier for tier, window, _ in folded}
        if self._device_writer is None:
            return
        state = self._device(device)
        latest = None
        for run in taken:
            if run is not latest:
                state.merge_run(run, received_at)
                latest = run
        if state.slot == NEVER:
            flush_s = self._latest_flush_s
            pause = wait(flush_s, share=share_of(device), first=state.ver == 0)
            self._device_queue.add(state, self._queued_from + pause, self._epoch)

    def begin_fold(self, since: float) -> None:
        """What is folded next waits since then (monotonic, s). With alert rules it is folded soon,
        and what they do not hasten is not written the more often for it."""
        self.now = self._queued_from = since
        if self.decide is not None:
            self._queued_from += PROMPT_FOLD_S

    @property
    def fold_s(self) -> float:
        """The longest that a record may wait to be folded (s)."""
        longest = PROMPT_FOLD_S if self._watched or self.decide is not None else FOLD_S
        return min(longest, *(tier.tier.flush_s for tier in self.tiers), self._latest_flush_s)

    def watch(self, devices: frozenset[str]) -> None:
        """From now on, write the finest windows of these devices as soon as they change."""
        added, self._watched = devices - self._watched, devices
        if added:
            finest = self.tiers[0]
            for (device, _), window in finest.open.items():
                if device in added and window.slot != NEVER:
                    finest.queue.hasten(window, self.now)

    def _hasten(self, windows: Iterable[tuple[TierWindows, Window]]) -> None:
        finest = self.tiers[0]
        for tier, window in windows:
            if tier is finest and window.slot != NEVER:
                finest.queue.hasten(window, self.now)

    def hasten_decided(self) -> None:
        """After a fold: write at once the windows from which an alarm follows."""
        changed, self._changed = self._changed, {}
        if (decide := self.decide) is not None:
            for window, tier in changed.items():
                for one in decide(tier.tier, window):
                    if one.slot != NEVER:
                        tier.queue.hasten(one, self.now)

    def is_due(self, now: float, *, timers: bool = True) -> bool:
        """Whether :meth:`flush_due` would write; ``now`` is monotonic (s)."""
        now_due = timers and any(queue.is_due(now) for queue in self._queues())
        return now_due or bool(self._repeated) or any(tier.is_full for tier in self.tiers)

    def flush_due(self, now: float, *, timers: bool = True) -> None:
        """Write the items whose time has come, and of a tier that holds too much the next ones.
        Without ``timers`` only the latter: a worker that catches up writes a window the fewer
        times, the longer it waits."""
        self.now = now
        windows = [(tier, tier.take_due(now, timers=timers)) for tier in self.tiers]
        self._write(windows, self._device_queue.take_due(now) if timers else [])

    def flush_all(self) -> None:
        """Return when everything folded so far is durable."""
        windows = [(tier, tier.queue.take_all()) for tier in self.tiers]
        self._write(windows, self._device_queue.take_all())

    def flush_until(self, epoch: int) -> None:
        """Return when everything folded in this epoch or before is durable."""
        windows = [(tier, tier.queue.take_until(epoch)) for tier in self.tiers]
        self._write(windows, self._device_queue.take_until(epoch))

    def end_epoch(self) -> int:
        """Begin an epoch; returns the one that ends, see :attr:`oldest_epoch`. Windows to which it
        brought only duplicates are evaluated: a process may have died before it could do that."""
        self._evaluate(())
        self._epoch += 1
        return self._epoch - 1

    @property
    def oldest_epoch(self) -> int:
        """Everything folded before this epoch is durable."""
        oldest = (queue.oldest_epoch for queue in self._queues())
        return min((epoch for epoch in oldest if epoch is not None), default=self._epoch)

    def _queues(self) -> Iterator[FlushQueue[Any]]:
        for tier in self.tiers:
            yield tier.queue
        yield self._device_queue

    def forget_idle(self) -> None:
        """Bound memory: drop what is durable and has not been touched for two commits."""
        self._generation += 1
        for tier in self.tiers:
            tier.forget(self._generation - 1)
        self._devices = {
            name: state
            for name, state in self._devices.items()
            if state.slot != NEVER or state.touched >= self._generation - 1
        }

    @property
    def conflicts(self) -> int:
        """Items that another writer had changed, since this process started."""
        return sum(writer.conflicts for writer in self._writers())

    @property
    def throttled(self) -> int:
        """Statements that DynamoDB throttled, since this process started."""
        return sum(writer.throttled for writer in self._writers())

    @property
    def items_written(self) -> int:
        """Items that DynamoDB took, since this process started."""
        return sum(writer.items_written for writer in self._writers())

    def _writers(self) -> Iterator[OptimisticWriter[Any]]:
        for tier in self.tiers:
            yield tier.writer
        if self._device_writer is not None:
            yield self._device_writer

    def pending_epochs(self) -> frozenset[int]:
        """The epochs of which something is not durable."""
        return frozenset().union(*(queue.epochs for queue in self._queues()))

    def _device(self, device: str) -> DeviceState:
        state = self._devices.get(device)
        if state is None:
            state = self._devices[device] = DeviceState(device)
        state.touched = self._generation
        return state

    def _write(
        self, windows: Sequence[tuple[TierWindows, list[Window]]], states: list[DeviceState]
    ) -> None:
        """Make windows and device states durable, with the calls of all of them in flight
        together."""
        work: list[Work] = []
        readings = []
        for tier, taken in windows:
            readings.append(readings_of(taken))
            work.append((tier.writer, [window for window in taken if window.pending]))
        if self._device_writer is not None:
            work.append((self._device_writer, [state for state in states if state.dirty]))
        write_all(work, self._calls, self._backoff)
        self._evaluate(  # one whose only readings were taken back may not be stored at all
            (tier, window) for tier, taken in windows for window in taken if window.ver
        )
        for (tier, taken), count in zip(windows, readings, strict=True):
            if taken:
                tier.written(taken, self.now, count)
        if len(self._devices) - self._device_queue.count > tier_windows.OPEN_WINDOWS:
            self._devices = {name: s for name, s in self._devices.items() if s.slot != NEVER}

    def _evaluate(self, durable: Iterable[Where]) -> None:
        """Let the alert rules decide windows that are durable."""
        if self.evaluate is not None:
            once = {w: tier.tier for w, tier in self._repeated.items() if not w.pending}
            once |= {window: tier.tier for tier, window in durable}
            self._repeated = {}
            if once:
                failpoints.hit("windows_durable")
                self.evaluate(once)

    def _first_settled(self, window: Window) -> None:
        self._durable(window.device, window.pending)
