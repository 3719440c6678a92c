"""What a shard's process has in memory of rules and devices: compiled rules, newest windows."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.alerts.alarms import Alarms
from consumers.alerts.condition import NOTHING, Verdict, value_of, verdict_of
from consumers.alerts.rules import Rule
from consumers.hot.windows import Window
from ingest.tiers import Tier


class Plan:
    """The rules that apply to some devices in one tier, compiled."""

    def __init__(self, tier: Tier, rules: Sequence[Rule]) -> None:
        self.tier = tier
        self.rules = rules
        self.verdicts: list[Verdict] = [verdict_of(rule) for rule in rules]
        self.early = [
            index
            for index, rule in enumerate(rules)
            if rule.raise_when is not None and rule.raise_when.is_final_once_true
        ]
        self.lookback = max((rule.lookback for rule in rules), default=0)
        self.compares = any(
            one.statistic == "change"
            for rule in rules
            for condition in (rule.raise_when, rule.clear_when)
            if condition is not None
            for one in condition.comparisons
        )
        self.readers = [
            value_of(rule.raise_when.comparisons[0]) for rule in rules if rule.raise_when
        ]
        self.newest_since = max((rule.since for rule in rules), default=0)

    def codes(self, window: Window, previous: Window | None) -> bytes:
        """The verdict of each rule on a finished window; nothing from a rule that was applied after
        its end."""
        codes = [verdict(window, previous) for verdict in self.verdicts]
        if window.end <= self.newest_since:
            for index, rule in enumerate(self.rules):
                if window.end <= rule.since:
                    codes[index] = NOTHING
        return bytes(codes)


class Track:
    """What is in memory of a device and tier: the newest window, and the verdicts on those before
    it that rules look back on."""

    __slots__ = ("codes", "newest", "plan", "previous", "start")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.newest: Window | None = None
        self.previous: Window | None = None
        self.start = -1
        self.codes: dict[int, bytes] = {}

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
