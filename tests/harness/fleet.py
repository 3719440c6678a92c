"""A fleet in memory for the rules of silence and of groups: what was sent, what of it is stored by
now, and workers that have the duty, die in it, and have it two at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from consumers.alerts.rules import Rule, RuleSet
from consumers.alerts.transition import RuleState
from consumers.fleet.duty import FleetDuty
from consumers.fleet.shards import Shards
from consumers.fleet.tables import Member, Page
from consumers.hot.runs import run_of_one
from consumers.hot.windows import Window
from consumers.kcl.leases import Lease
from ingest.tables.hot import window_name
from ingest.tiers import Tier
from tests.harness.calls import ShuffledCalls
from tests.harness.shard import backoff
from tests.harness.stores import MemoryDynamo

TIER = Tier("10s", flush_s=20.0, ttl_s=6 * 3600)
LATEST_FLUSH_S = 60.0
SHARDS = ("shard-0", "shard-1")
HALF = 2**127


class Killed(BaseException):
    """The worker ends here."""


class Sent:
    """A reading: received at ``at``, of event time ``ts`` (ms); its window and the roster have it
    from these times on."""

    def __init__(self, at: int, ts: int, in_window: int, in_roster: int, value: float = 0) -> None:
        self.at = at
        self.ts = ts
        self.in_window = in_window
        self.in_roster = in_roster
        self.value = value


class MemoryFleet:
    """:class:`consumers.fleet.tables.Tables` as of ``now`` (ms); counts what is read."""

    def __init__(self, rules: Sequence[Rule], dynamo: MemoryDynamo, page: int = 2) -> None:
        self.now = 0
        self.sent: dict[str, list[Sent]] = {}
        self.group: dict[str, str] = {}
        self.behind: Callable[[str], int] = lambda _: 0
        self.interrupt: Callable[[str], None] = lambda _: None
        self.reads = {"members": 0, "windows": 0, "scanned": 0}
        self._rules = RuleSet(1, list(rules))
        self._dynamo = dynamo
        self._page = page

    def rules(self) -> RuleSet:
        return self._rules

    def _member(self, device: str) -> Member:
        known = [one for one in self.sent[device] if one.in_roster <= self.now]
        seen, ts = max((x.at for x in known), default=0), max((x.ts for x in known), default=0)
        return Member(device, self.group.get(device, ""), "", seen, ts)

    def scan(self, more: Any = None) -> Page:
        self.interrupt("scan")
        names = sorted(self.sent)
        start = more or 0
        found = names[start : start + self._page]
        self.reads["scanned"] += len(found)
        left = start + self._page < len(names)
        return Page([*map(self._member, found)], self.now, start + self._page if left else None)

    def members(self, devices: Sequence[str]) -> Page:
        assert 0 < len(devices) <= 100
        self.interrupt("members")
        self.reads["members"] += len(devices)
        return Page([self._member(one) for one in devices if one in self.sent], self.now)

    def newest_ts(self, device: str) -> int:
        self.interrupt("newest_ts")
        self.reads["windows"] += 1
        return max((x.ts for x in self.sent[device] if x.in_window <= self.now), default=0)

    def open_alarms(self) -> dict[str, dict[str, RuleState]]:
        return {
            name: msgspec.json.decode(item["states"]["S"], type=dict[str, RuleState])
            for (name,), item in self._dynamo.tables.get("alerts", {}).items()
            if item["is_open"]["S"] == "1"
        }

    def windows(self, device: str, tier: Tier, start_ms: int, end_ms: int) -> list[Window]:
        self.interrupt("windows")
        found: dict[int, Window] = {}
        for seq, one in enumerate(self.sent[device]):
            start = one.ts - one.ts % tier.size_ms
            if one.in_window <= self.now and start_ms <= start <= end_ms:
                window = found.get(start)
                if window is None:
                    name = window_name(tier.name, start)
                    window = found[start] = Window(device, name, start + tier.size_ms)
                window.fold(run_of_one("boot", seq, one.ts, {"temperature": one.value}))
        return [found[start] for start in sorted(found)]

    def reports(self) -> list[dict[str, Any]]:
        shards = [{"shard": one, "lag_ms": self.behind(one)} for one in SHARDS]
        return [{"worker": "w", "updated_at": self.now, "shards": shards}]


def open_duty(
    fleet: MemoryFleet, dynamo: MemoryDynamo, chance: random.Random, tiers: Sequence[Tier] = (TIER,)
) -> FleetDuty:
    """A worker that begins to have the duty."""
    shards = Shards(settle_ms=25_000)
    shards.saw(
        [
            Lease(SHARDS[0], "w", 1, "1", hashes=(0, HALF - 1)),
            Lease(SHARDS[1], "w", 1, "1", hashes=(HALF, 2**128 - 1)),
        ]
    )
    return FleetDuty(
        tables=fleet, store=dynamo, alerts_table="alerts", tiers=tiers,
        latest_flush_s=LATEST_FLUSH_S, shards=shards, calls=ShuffledCalls(3, chance),
        clock=lambda: fleet.now / 1000, backoff=backoff,
    )  # fmt: skip
