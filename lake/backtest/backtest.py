"""Plays the archive through an alert rule: what it would have done.

Readings are folded as a worker folds them, and windows are decided by the worker's own code
(:mod:`consumers.alerts.plan`, :mod:`consumers.alerts.transition`). What is told is what stands once
all readings are there: what late readings would have withdrawn again is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from consumers.alerts.condition import BREACH, NOTHING
from consumers.alerts.plan import Plan
from consumers.alerts.rules import Rule
from consumers.alerts.transition import Transition, decide, transition_of
from consumers.hot.windows import Window
from ingest.tables.hot import window_name
from ingest.tiers import Tier
from lake.archive.segments import Segment
from lake.backtest.screen import COLUMNS, Extents, metrics_of
from lake.replay.expected import ExpectedWindows
from lake.replay.rows import Selection
from lake.replay.source import ArchiveSource

WINDOWS_AT_ONCE: Final = 300_000
"""Windows that are held in memory at once; each takes 1 to 2 KB."""
CURVES: Final = 50
"""Devices of which the values of every window are kept, for a plot."""


class Progress(Struct):
    """How far a back-test is: segments read of all that are to be read."""

    segments: int = 0
    segments_done: int = 0
    readings: int = 0


class Backtest(Struct):
    """What a rule would have done. ``devices`` had readings and are the rule's, ``folded`` of them
    could be met by it; ``readings`` were folded. ``curves`` has, for devices with transitions, the
    start (ms) of each window and the value that the rule's first comparison looks at."""

    rule: Rule
    start: int
    end: int
    devices: int = 0
    folded: int = 0
    readings: int = 0
    transitions: list[Transition] = []
    curves: dict[str, list[tuple[int, float | None]]] = {}

    @property
    def alarms(self) -> int:
        """How often an alarm was raised."""
        return sum(one.kind == "raised" for one in self.transitions)

    @property
    def open_at_the_end(self) -> int:
        """Alarms that nothing cleared."""
        return self.alarms - sum(one.kind == "cleared" for one in self.transitions)


def spans(transitions: Sequence[Transition], end: int) -> dict[str, list[tuple[int, int]]]:
    """When the alarm of each device was open: from the window that raised it to the one that
    cleared it (ms), or to ``end``."""
    found: dict[str, list[tuple[int, int]]] = {}
    for one in sorted(transitions, key=lambda one: one.window):
        mine = found.setdefault(one.device, [])
        if one.kind == "raised":
            mine.append((one.window, end))
        elif mine:
            mine[-1] = (mine[-1][0], one.window)
    return found


class Backtester:
    """Back-tests of rules on one archive; all of its I/O is in ``source``.

    ``selects`` says whether a device is one of a rule's; ``progress`` is told after each segment.
    """

    def __init__(
        self,
        source: ArchiveSource,
        tiers: Mapping[str, Tier],
        *,
        selects: Callable[[Rule, str], bool] = lambda rule, device: rule.selects(device, "", ""),
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._tiers = tiers
        self._selects = selects
        self._tell = progress
        self._done = Progress()

    def run(self, rule: Rule, selection: Selection) -> Backtest:
        """What a rule would have done with the readings of a selection, whenever it was applied.

        :raises KeyError: when there is no such tier.
        """
        tier = self._tiers[rule.tier]
        self._done = Progress()
        result = Backtest(rule, selection.start, selection.end)
        segments = self._source.listed(selection)
        extents = self._extents(rule, segments, selection)
        mine = {device for device in extents.devices() if self._selects(rule, device)}
        met = sorted(mine & extents.reach(rule))
        result.devices, result.folded = len(mine), len(met)
        windows_each = (selection.end - selection.start) // tier.size_ms + 2
        size = max(1, WINDOWS_AT_ONCE // windows_each)
        parts = [met[at : at + size] for at in range(0, len(met), size)]
        self._done.segments += self._done.segments_done * len(parts)
        plan = Plan(tier, [_always(rule)])
        for part in parts:
            self._play(plan, segments, selection._replace(devices=frozenset(part)), result)
        result.transitions.sort(key=lambda one: (one.window, one.device))
        return result

    def _extents(self, rule: Rule, segments: Sequence[Segment], selection: Selection) -> Extents:
        self._done.segments = len(segments)
        extents = Extents(metrics_of(rule))
        for table in self._source.tables(segments, selection, COLUMNS):
            if table is not None:
                extents.add(table, selection)
            self._step(0)
        return extents

    def _play(
        self, plan: Plan, segments: Sequence[Segment], selection: Selection, result: Backtest
    ) -> None:
        """Fold a part of the devices, and decide their windows."""
        expected = ExpectedWindows([plan.tier])
        for records in self._source.read(segments, selection):
            expected.fold(records)
            self._step(sum(record.readings for record in records))
        result.readings += expected.readings
        of_device: dict[str, dict[int, Window]] = {}
        for _, window in expected.windows():
            start = window.end - plan.tier.size_ms
            of_device.setdefault(window.device, {})[start] = window
        for device, windows in of_device.items():
            made = list(transitions(plan, device, windows))
            result.transitions += made
            if made and len(result.curves) < CURVES:
                result.curves[device] = list(_curve(plan, windows))

    def _step(self, readings: int) -> None:
        self._done.segments_done += 1
        self._done.readings += readings
        self._tell(self._done)


def transitions(plan: Plan, device: str, windows: Mapping[int, Window]) -> Iterator[Transition]:
    """What the only rule of a plan does with all windows of a device, by their start (ms)."""
    rule, size = plan.rules[0], plan.tier.size_ms
    if not rule.lookback and not any(map(plan.may_breach, windows.values())):
        return
    verdicts = {
        start: code
        for start, window in windows.items()
        if (code := plan.codes(window, windows.get(start - size))[0]) != NOTHING
    }
    newest = max(windows)
    if verdicts.get(newest) != BREACH or not plan.early:
        verdicts.pop(newest, None)  # it may be unfinished
    for change in decide(rule, None, verdicts, 0, size):
        start = change.entry.window
        value = plan.readers[0](windows[start], windows.get(start - size))
        key = window_name(rule.tier, start)
        yield transition_of(rule, device, change, key, value, start + size, 0)


def _curve(plan: Plan, windows: Mapping[int, Window]) -> Iterator[tuple[int, float | None]]:
    for start in sorted(windows):
        before = windows.get(start - plan.tier.size_ms)
        yield start, plan.readers[0](windows[start], before)


def _always(rule: Rule) -> Rule:
    """The rule as if it had always been at work."""
    return replace(rule, since=0)
