"""What a shard's process has in memory of rules and devices: compiled rules, newest windows."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.alerts.alarms import Alarms
from consumers.alerts.condition import NOTHING, Value, Verdict, value_of, verdict_of
from consumers.alerts.rules import Comparison, Rule
from consumers.hot.windows import Window
from ingest.tiers import Tier


class Plan:
    """The rules that apply to some devices in one tier, compiled."""

    def __init__(self, tier: Tier, rules: Sequence[Rule]) -> None:
        self.tier = tier
        self.rules = rules
        self.verdicts: list[Verdict] = [verdict_of(rule) for rule in rules]
        self.early = [
            index for index, rule in enumerate(rules) if rule.raise_when.is_final_once_true
        ]
        self.lookback = max((rule.lookback for rule in rules), default=0)
        self.compares = any(
            one.statistic == "change"
            for rule in rules
            for condition in (rule.raise_when, rule.clear_when)
            for one in condition.comparisons
        )
        self.readers = [value_of(rule.raise_when.comparisons[0]) for rule in rules]
        self.newest_since = max((rule.since for rule in rules), default=0)
        gated = [rule for rule in rules if _has_gate(rule)]
        self.gates = _gates(gated) if len(gated) == len(rules) else None
        early = [rules[index] for index in self.early]
        self.early_gates = _gates(early) if all(map(_has_gate, early)) else None

    def may_breach(self, window: Window) -> bool:
        """Whether any rule can be met by a finished window. Most windows are far from every
        threshold: one look at each statistic tells, however many rules there are."""
        return self.gates is None or _is_open(self.gates, window)

    def may_breach_early(self, window: Window) -> bool:
        """The same for what is decided on an unfinished window."""
        return self.early_gates is None or _is_open(self.early_gates, window)

    def codes(self, window: Window, previous: Window | None) -> bytes:
        """The verdict of each rule on a finished window; nothing from a rule that was applied after
        its end."""
        codes = [verdict(window, previous) for verdict in self.verdicts]
        if window.end <= self.newest_since:
            for index, rule in enumerate(self.rules):
                if window.end <= rule.since:
                    codes[index] = NOTHING
        return bytes(codes)


Gate = tuple[Value, bool, float]
"""A statistic, whether rules ask for greater values, and the threshold that is met first."""


def _has_gate(rule: Rule) -> bool:
    """Whether one statistic of one window tells that a rule is not met."""
    first, *others = rule.raise_when.comparisons
    return not others and not rule.lookback and first.statistic != "change"


def _gates(rules: Sequence[Rule]) -> list[Gate]:
    bounds: dict[tuple[str, str, bool], tuple[Comparison, float]] = {}
    for rule in rules:
        one = rule.raise_when.comparisons[0]
        greater = one.operator in (">", ">=")
        key = (one.statistic, one.metric, greater)
        _, bound = bounds.get(key, (one, one.threshold))
        bounds[key] = one, (min if greater else max)(bound, one.threshold)
    return [(value_of(one), key[2], bound) for key, (one, bound) in bounds.items()]


def _is_open(gates: Sequence[Gate], window: Window) -> bool:
    for read, greater, bound in gates:
        value = read(window, None)
        if value is not None and (value >= bound if greater else value <= bound):
            return True
    return False


class Track:
    """What is in memory of a device and tier: the newest durable window, the verdicts on those
    before it that rules look back on, and the newer windows, which are not durable."""

    __slots__ = ("ahead", "codes", "newest", "plan", "previous", "start")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.newest: Window | None = None
        self.previous: Window | None = None
        self.start = -1
        self.codes: dict[int, bytes] = {}
        self.ahead: tuple[Window, ...] = ()

    def begins(self, window: Window) -> bool:
        """Whether a window is newer than all that are known; it is known from now on."""
        if window.end <= self.start + self.plan.tier.size_ms or window in self.ahead:
            return False
        newest = max((one.end for one in self.ahead), default=0)
        self.ahead = (*self.ahead, window)
        return window.end > newest

    def finished_by(self, window: Window) -> list[Window]:
        """The windows that a newer one finishes and that are not decided, the oldest first."""
        durable = self.start + self.plan.tier.size_ms
        self.ahead = tuple(one for one in self.ahead if one.end > durable)
        newer = sorted((o for o in self.ahead if o.end < window.end), key=lambda one: one.end)
        return [self.newest, *newer] if self.newest is not None else newer

    def codes_of(self, windows: Sequence[Window]) -> dict[int, bytes]:
        """The verdicts on windows that follow each other, by start."""
        size = self.plan.tier.size_ms
        codes: dict[int, bytes] = {}
        previous = self.previous
        for window in windows:
            adjoins = previous is not None and previous.end == window.end - size
            codes[window.end - size] = self.plan.codes(window, previous if adjoins else None)
            previous = window
        return codes

    def remember(self, start: int, codes: bytes) -> None:
        """Keep the verdicts on a finished window, and forget those that no rule looks back on."""
        if self.plan.lookback:
            self.codes[start] = codes
            oldest = start - self.plan.lookback * self.plan.tier.size_ms
            for gone in [one for one in self.codes if one < oldest]:
                del self.codes[gone]


class Device:
    """What is in memory of a device."""

    __slots__ = ("alarms", "raised", "tracks")

    def __init__(self, alarms: Alarms, tracks: dict[str, Track]) -> None:
        self.alarms = alarms
        self.tracks = tracks
        self.raised: frozenset[str] = frozenset(alarms.open_rules)
