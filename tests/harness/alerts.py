"""Alert rules on the stores in memory: the history that they read, and who takes what they told."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from consumers.alerts.alarms import Waiting
from consumers.alerts.evaluator import Evaluator
from consumers.alerts.rules import Rule
from consumers.alerts.store import stored_window
from consumers.alerts.transition import Transition
from consumers.aws.in_flight import Calls
from consumers.hot.store import HotStore
from consumers.hot.windows import Window
from ingest.tiers import Tier
from tests.harness.shard import backoff
from tests.harness.stores import MemoryDynamo


class MemoryHistory:
    """:class:`consumers.alerts.evaluator.History` on the tables in memory."""

    def __init__(self, dynamo: MemoryDynamo) -> None:
        self._dynamo = dynamo

    def newest(self, device: str, tier: Tier, count: int) -> list[Window]:
        return self._all(device, tier)[-count:]

    def before(self, device: str, tier: Tier, start_ms: int, count: int) -> list[Window]:
        found = [one for one in self._all(device, tier) if one.end - tier.size_ms < start_ms]
        return found[-count:]

    def between(self, device: str, tier: Tier, start_ms: int, end_ms: int) -> list[Window]:
        windows = self._all(device, tier)
        return [one for one in windows if start_ms <= one.end - tier.size_ms <= end_ms]

    def attributes(self, table: str, devices: Sequence[str]) -> dict[str, tuple[str, str]]:
        return {}

    def _all(self, device: str, tier: Tier) -> list[Window]:
        items = self._dynamo.tables.get("windows", {})
        found = [
            stored_window(item, tier)
            for (name, window), item in items.items()
            if name == device and window.startswith(f"{tier.name}#")
        ]
        return sorted(found, key=lambda one: one.end)


def with_rules(
    hot: HotStore,
    rules: Sequence[Rule],
    dynamo: MemoryDynamo,
    tiers: Sequence[Tier],
    calls: Calls,
    holds_lease: Callable[[], bool],
) -> HotStore:
    """The store with an evaluator of its own."""
    evaluator = Evaluator(
        rules,
        store=dynamo,
        history=MemoryHistory(dynamo),
        alerts_table="alerts",
        devices_table="devices",
        tiers=tiers,
        calls=calls,
        holds_lease=holds_lease,
        backoff=backoff,
    )
    hot.evaluate, hot.decide = evaluator.evaluate, evaluator.windows_to_hasten
    return hot


class Receiver:
    """Takes transitions out of the outboxes, in order, and now and then forgets to say so."""

    def __init__(self, dynamo: MemoryDynamo, chance: random.Random) -> None:
        self._dynamo = dynamo
        self._chance = chance
        self.got: list[Transition] = []

    def take(self, *, forgets: float = 0.3) -> None:
        """Deliver what waits."""
        for item in self._dynamo.tables.get("alerts", {}).values():
            waiting = msgspec.json.decode(item["outbox"]["S"], type=list[Waiting])
            some = waiting[: self._chance.randint(0, len(waiting))] if forgets else waiting
            self.got += [one.transition for one in some]
            if some and self._chance.random() >= forgets:
                item["outbox"] = {"S": msgspec.json.encode(waiting[len(some) :]).decode()}
                item["ver"] = {"N": str(int(item["ver"]["N"]) + 1)}

    @property
    def once(self) -> list[Transition]:
        """What it got, each id once, in the order in which it came first."""
        return list({one.id: one for one in reversed(self.got)}.values())[::-1]

    def standing(self) -> set[tuple[str, str, int, str]]:
        """What stands after everything it was told: rule, device, window and kind."""
        known: dict[str, Transition] = {}
        for one in self.once:
            if one.withdraws:
                known.pop(one.withdraws, None)
            else:
                known[one.id] = one
        return {(one.rule, one.device, one.window, one.kind) for one in known.values()}
