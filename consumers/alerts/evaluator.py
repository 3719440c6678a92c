"""Evaluates the rules on a shard's durable windows.

The hot store calls :meth:`Evaluator.evaluate` with windows after they are durable and before the
checkpoint may pass their readings; see docs/decisions/0026-alerts-on-durable-windows.md. When it
returns, what the windows decide is recorded in ``<stack>-alerts``.

A window is *finished* when a later one of its device and tier is durable: that is decided from the
windows, not from the clock. What more readings cannot change (a maximum that is too high) is
decided as soon as it is durable. Nothing is written unless there is a transition.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from consumers import failpoints
from consumers.alerts.alarms import Alarms, AlarmsCodec, Evaluation
from consumers.alerts.condition import BREACH, CLEAR, NOTHING
from consumers.alerts.plan import Device, Plan, Track
from consumers.alerts.rules import Rule
from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls
from consumers.exceptions import LeaseLostError
from consumers.hot.optimistic import OptimisticWriter, Store, read_all, write_all
from consumers.hot.windows import Window
from ingest.tiers import Tier

log: Final = logging.getLogger(__name__)

DEVICES_KEPT: Final = 50_000
"""Devices that are kept in memory; when there are more, all are dropped, and read on demand."""

HORIZON: Final = 500
"""A window that is further behind the newest than so many windows is not decided again."""


Taken = Mapping[str, Sequence[tuple[Tier, Window]]]
"""Durable windows that rules may watch, by device."""


class History(Protocol):
    """What is read of stored windows and the roster; see
    :class:`consumers.alerts.store.WindowHistory`."""

    def newest(self, device: str, tier: Tier, count: int) -> list[Window]:
        """The newest windows, oldest first."""

    def before(self, device: str, tier: Tier, start_ms: int, count: int) -> list[Window]:
        """The newest windows that begin before a time, oldest first."""

    def between(self, device: str, tier: Tier, start_ms: int, end_ms: int) -> list[Window]:
        """The windows that begin in ``[start_ms, end_ms]``, oldest first."""

    def attributes(self, table: str, devices: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Group and type of up to 100 devices of the roster."""


class Evaluator:
    """The rules of a deployment at work on one shard."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        store: Store,
        history: History,
        alerts_table: str,
        devices_table: str,
        tiers: Sequence[Tier],
        calls: Calls,
        holds_lease: Callable[[], bool],
        backoff: Callable[[], Backoff] = Backoff,
        on_recorded: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        """``on_recorded`` is told the devices of which transitions were recorded."""
        rules = [rule for rule in rules if not rule.is_of_fleet]
        self._general = [rule for rule in rules if rule.selects_all]
        self._choosy = [rule for rule in rules if not rule.selects_all]
        self._by_attributes = any(rule.group or rule.type for rule in rules)
        self._tiers = {tier.name: tier for tier in tiers}
        self.tiers = frozenset(rule.tier for rule in rules) & self._tiers.keys()
        self._writer = OptimisticWriter(store, AlarmsCodec(alerts_table))
        self._history = history
        self._devices_table = devices_table
        self._calls = calls
        self._holds_lease = holds_lease
        self._backoff = backoff
        self._on_recorded = on_recorded
        self._devices: dict[str, Device] = {}
        self._plans: dict[tuple[str, ...], list[Plan]] = {}
        self.evaluated = self.recorded = self.too_late = 0

    def evaluate(self, durable: Mapping[Window, Tier]) -> None:
        """Decide durable windows, and return when every transition that follows is recorded.

        :raises LeaseLostError: when another worker has the shard: it decides these windows.
        :raises StoreError, GaveUpError: when a store refuses; the process must end, and its
            successor finds the windows again, because the checkpoint did not pass them.
        """
        taken: dict[str, list[tuple[Tier, Window]]] = {}
        for window, tier in durable.items():
            if tier.name in self.tiers:
                taken.setdefault(window.device, []).append((tier, window))
        if not taken:
            return
        new = [device for device in taken if device not in self._devices]
        met = self._meet(new, taken) if new else frozenset()
        changed: list[Device] = []
        for name, windows in taken.items():
            device = self._devices[name]
            if not device.tracks:
                continue
            windows.sort(key=_end)
            for tier, window in windows:
                track = device.tracks.get(tier.name)
                if track is not None and (name, tier.name) not in met:
                    self._observe(device, track, window)
            if device.alarms.evaluations:
                if device.alarms.apply():
                    changed.append(device)
                else:
                    device.alarms.evaluations.clear()
        self._record(changed)

    def _record(self, changed: Sequence[Device]) -> None:
        """Write the items in which something changed."""
        if not changed:
            return
        if not self._holds_lease():
            raise LeaseLostError("another worker has the shard: its windows are newer than ours")
        write_all(
            [(self._writer, [device.alarms for device in changed])], self._calls, self._backoff
        )
        failpoints.hit("alerts_recorded")
        self.recorded += len(changed)
        for device in changed:
            device.alarms.evaluations.clear()
            device.raised = frozenset(device.alarms.open_rules)
        self._on_recorded([device.alarms.device for device in changed])

    # -- devices that are not in memory -------------------------------------------------------

    def _meet(self, names: Sequence[str], taken: Taken) -> frozenset[tuple[str, str]]:
        """Read the items, the attributes and the newest windows of devices that are not in memory,
        and decide what an earlier process may have left undecided. Returns the devices and tiers of
        which all that was taken is decided by that."""
        if len(self._devices) + len(names) > DEVICES_KEPT:
            self._devices = {one: self._devices[one] for one in taken if one in self._devices}
        attributes: dict[str, tuple[str, str]] = {}
        if self._by_attributes:
            for start in range(0, len(names), 100):
                attributes |= self._history.attributes(
                    self._devices_table, names[start : start + 100]
                )
        watched: list[Device] = []
        for name in names:
            tracks = self._tracks(name, *attributes.get(name, ("", "")))
            device = self._devices[name] = Device(Alarms(name), tracks)
            if tracks:
                watched.append(device)
        read_all([(self._writer, [one.alarms for one in watched])], self._calls, self._backoff)
        for device in watched:
            device.raised = frozenset(device.alarms.open_rules)
        return frozenset(self._look_back(watched, taken))

    def _tracks(self, device: str, group: str, kind: str) -> dict[str, Track]:
        mine = [rule for rule in self._choosy if rule.selects(device, group, kind)]
        key = tuple(rule.name for rule in mine)
        plans = self._plans.get(key)
        if plans is None:
            every = [*self._general, *mine]
            plans = self._plans[key] = [
                Plan(self._tiers[name], [rule for rule in every if rule.tier == name])
                for name in {rule.tier for rule in every} & self.tiers
            ]
        return {plan.tier.name: Track(plan) for plan in plans}

    def _look_back(self, devices: Sequence[Device], taken: Taken) -> Iterator[tuple[str, str]]:
        """Read the newest windows of devices met first. The newest but one was finished by readings
        that may be those which are processed again, so it is decided with the rest."""
        work: list[tuple[Device, Track, list[Window]]] = []
        for device in devices:
            for name, track in device.tracks.items():
                touched = [w for tier, w in taken[device.alarms.device] if tier.name == name]
                if touched:
                    work.append((device, track, touched))
        index = 0
        while index < len(work) or self._calls.waiting:
            while index < len(work) and self._calls.waiting < self._calls.limit:
                self._calls.submit(partial(self._read_around, *work[index]))
                index += 1
            device, track, touched, stored = self._calls.result()
            self._decide_run(device, track, stored, touched)
            yield device.alarms.device, track.plan.tier.name

    def _read_around(
        self, device: Device, track: Track, touched: list[Window]
    ) -> tuple[Device, Track, list[Window], list[Window]]:
        """The stored windows that decide the touched ones: all since the oldest of them, the one
        before it, which they finished, those that rules look back on from there, and the one that
        the oldest of these is compared with."""
        name, tier = device.alarms.device, track.plan.tier
        before = 1 + track.plan.lookback + int(track.plan.compares)
        first = min(one.end for one in touched) - tier.size_ms
        count = before + 2
        stored = self._history.newest(name, tier, count)
        older = sum(one.end <= first for one in stored)
        if len(stored) == count and older < before:
            newest = stored[-1].end - tier.size_ms
            stored = self._history.before(name, tier, first, before)
            stored += self._history.between(name, tier, first, newest)
        return device, track, touched, stored

    # -- windows that are not durable yet -----------------------------------------------------

    def windows_to_hasten(self, tier: Tier, window: Window) -> Sequence[Window]:
        """The windows from which a transition follows, once they are durable, now that a window of
        a tier has changed. It is a guess from what is in memory, and moves only the time:
        :meth:`evaluate` decides. No transition, no hurry: it costs a write."""
        device = self._devices.get(window.device)
        track = device.tracks.get(tier.name) if device is not None else None
        if device is None or track is None or window.end < track.start + tier.size_ms:
            return ()
        start = window.end - tier.size_ms
        for index in _met_early(device, track.plan, window):
            if device.alarms.changes(_evaluation(track, index, start, {start: BREACH})):
                return (window,)
        if not track.begins(window):
            return ()
        before = track.finished_by(window)
        if not all(one.loaded for one in before):
            return ()
        if not device.raised and not any(map(track.plan.may_breach, before)):
            return ()
        codes = track.codes_of(before)
        for index in range(len(track.plan.rules)):
            verdicts = {at: code[index] for at, code in codes.items() if code[index] != NOTHING}
            if device.alarms.changes(_evaluation(track, index, track.start, verdicts)):
                return (*before, window)
        return ()

    # -- windows ------------------------------------------------------------------------------

    def _observe(self, device: Device, track: Track, window: Window) -> None:
        """Take one durable window in."""
        self.evaluated += 1
        size = track.plan.tier.size_ms
        start = window.end - size
        if start > track.start:
            finished = track.newest
            if finished is not None:
                if finished.pending or not finished.loaded:
                    self._decide_again(device, track, track.start, start, window)
                    return
                self._finish(device, track, finished)
            track.previous = (
                finished if track.plan.compares and start - size == track.start else None
            )
            track.newest, track.start = window, start
        elif start == track.start:
            track.newest = window
        else:
            self._decide_again(device, track, start, track.start, window, late=True)
            return
        if track.plan.early:
            self._decide_early(device, track, window)

    def _finish(self, device: Device, track: Track, window: Window) -> None:
        """A window is finished: decide every rule on it."""
        plan, start = track.plan, track.start
        raised, undecided = device.raised, bool(device.alarms.evaluations)
        if not raised and not undecided and not plan.may_breach(window):
            return
        codes = plan.codes(window, track.previous)
        for index, code in enumerate(codes):
            if code == BREACH or (code == CLEAR and (raised or undecided)):
                open_now = plan.rules[index].name in raised
                if undecided or (code == BREACH) is not open_now:
                    self._ask(device, track, index, start, {start: code}, window)
        track.remember(start, codes)

    def _decide_early(self, device: Device, track: Track, window: Window) -> None:
        """Decide on an unfinished window what more readings cannot change."""
        for index in _met_early(device, track.plan, window):
            self._ask(device, track, index, track.start, {track.start: BREACH}, window)

    def _ask(
        self, device: Device, track: Track, index: int, since: int, verdicts: dict[int, int],
        window: Window,
    ) -> None:  # fmt: skip
        """Queue an evaluation of a rule whose state a window may change."""
        evaluation = _evaluation(track, index, since, verdicts)
        evaluation.values[since] = track.plan.readers[index](window, track.previous)
        device.alarms.evaluations.append(evaluation)

    def _decide_again(
        self, device: Device, track: Track, since: int, newest: int, window: Window,
        late: bool = False,
    ) -> None:  # fmt: skip
        """Decide a run of windows from what is stored: a finished one has changed."""
        tier = track.plan.tier
        if newest - since > HORIZON * tier.size_ms:
            self.too_late += 1
            log.warning("%s: %s came too late to be decided again", window.device, window.name)
            return
        first = since - (track.plan.lookback + 1) * tier.size_ms
        stored = self._history.between(window.device, tier, first, newest)
        self._decide_run(device, track, stored, [window], since=since, late=late)

    def _decide_run(
        self, device: Device, track: Track, stored: Sequence[Window], touched: Sequence[Window],
        since: int | None = None, late: bool = False,
    ) -> None:  # fmt: skip
        """Decide all rules on a run of stored windows, and begin the track anew at its newest.

        ``since`` (ms) is where to begin; by default at the newest window before the touched ones,
        which they finished.
        """
        plan, size = track.plan, track.plan.tier.size_ms
        windows = {one.end - size: one for one in stored}
        windows |= {one.end - size: one for one in touched if one.loaded and not one.pending}
        if not windows:
            return
        starts = sorted(windows)
        if since is None:
            first = min(one.end - size for one in touched)
            since = max((one for one in starts if one < first), default=first)
        newest = starts[-1]
        last = windows[newest]
        track.newest, track.start = last, newest
        track.previous = windows.get(newest - size) if plan.compares else None
        track.codes = {}
        decided = [windows[start] for start in starts if since <= start < newest]
        fresh = not (plan.lookback or device.alarms.states or device.alarms.evaluations)
        if fresh and not any(map(plan.may_breach, decided)) and not plan.may_breach_early(last):
            return  # nothing is met, and nothing has to be remembered
        every = {
            start: plan.codes(windows[start], windows.get(start - size))
            for start in starts
            if start < newest
        }
        for index, rule in enumerate(plan.rules):
            verdicts = {s: codes[index] for s, codes in every.items() if codes[index] != NOTHING}
            early = index in plan.early and last.end > rule.since
            if early and plan.verdicts[index](last, None) == BREACH:
                verdicts[newest] = BREACH
            evaluation = Evaluation(rule, verdicts, since, size, {}, late)
            if device.alarms.evaluations or device.alarms.changes(evaluation):
                for at in starts:
                    if at >= since:
                        before = windows.get(at - size)
                        evaluation.values[at] = plan.readers[index](windows[at], before)
                device.alarms.evaluations.append(evaluation)
        for start in starts[:-1]:
            track.remember(start, every[start])


def _met_early(device: Device, plan: Plan, window: Window) -> Iterator[int]:
    """The rules that a window meets, whatever else arrives, and that are not known to be open."""
    for index in plan.early if plan.may_breach_early(window) else ():
        rule = plan.rules[index]
        if (rule.name in device.raised and not device.alarms.evaluations) or (
            window.end <= rule.since
        ):
            continue
        if plan.verdicts[index](window, None) == BREACH:
            yield index


def _evaluation(track: Track, index: int, since: int, verdicts: dict[int, int]) -> Evaluation:
    """A rule on windows from ``since`` (ms) on, with those before that it looks back on."""
    for start, codes in track.codes.items():
        if codes[index] != NOTHING:
            verdicts.setdefault(start, codes[index])
    return Evaluation(track.plan.rules[index], verdicts, since, track.plan.tier.size_ms, {})


def _end(one: tuple[Tier, Window]) -> int:
    return one[1].end
