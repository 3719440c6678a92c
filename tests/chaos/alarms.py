"""Invariant T on a site: the rules that are at work, what its bus carried, and the comparison."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from consumers.alerts.rule_file import parse_rules
from infra.alarms import applied_rules, apply_rules
from infra.simulation.hearing import Listener
from simulator.verification.oracle import Rules, Sent, Window
from simulator.verification.silences import (
    SilenceWatch,
    arrivals_of,
    compare_silences,
    silence_watch_of,
    told_until,
)
from simulator.verification.transitions import (
    LATE_S,
    Alarms,
    Heard,
    compare,
    groups_must_stand,
    must_stand,
)
from simulator.verification.watches import Watch, watch_of
from tests.chaos.stack import DeployedStack
from tests.chaos.traffic import GROUP

DELIVERED_S: Final = 45.0


class SiteAlarms:
    """Alarms of one site. Nothing is at work, and all is well, until rules are applied."""

    def __init__(self, stack: DeployedStack) -> None:
        self._stack = stack
        self._listener: Listener | None = None
        self._watches: list[Watch] = []
        self._silences: list[SilenceWatch] = []
        self._exit = ExitStack()
        self.undeliverable_s = 0.0
        """How long nothing could be delivered: a transition may be so much later."""

    def apply(self, text: str, ahead_ms: int) -> None:
        """Put rules to work in place of those before, for windows that end later than ``ahead_ms``
        from now."""
        target = self._stack.target
        if self._listener is None:
            listener = Listener(target, self._stack.folder / "heard.jsonl")
            self._listener = self._exit.enter_context(listener)
        since = time.time_ns() // 1_000_000 + ahead_ms
        apply_rules(target, [rule for _, _, rule in parse_rules(text)], since)
        began = {rule.name: rule.since for rule in applied_rules(target).rules}
        for entry in tomllib.loads(text)["rule"]:
            if "silent" in entry:
                self._silences.append(silence_watch_of(entry))
                continue
            watch = watch_of(entry)._replace(since=began[entry["name"]])
            if watch not in self._watches:
                self._watches.append(watch)

    def end(self) -> None:
        """Hear no more."""
        self._exit.close()

    def heard(self) -> list[Heard]:
        """Every event that the bus carried until now."""
        return self._listener.heard() if self._listener else []

    def waiting(self) -> int:
        """Devices in whose outbox something waits."""
        found = self._stack.dynamodb.query(
            TableName=self._stack.settings.alerts_table, IndexName="waits", Select="COUNT",
            KeyConditionExpression="waits = :yes",
            ExpressionAttributeValues={":yes": {"S": "1"}},
        )  # fmt: skip
        return int(found["Count"])

    def result(
        self, taken: Sequence[Sent], windows: dict[tuple[str, str], Window], rules: Rules
    ) -> Alarms | None:
        """What was heard against what must stand, once it is delivered, and the silence of the
        devices that have stopped with it; ``None`` without rules."""
        if not self._watches and not self._silences:
            return None
        late_s = LATE_S + self.undeliverable_s
        wanted = must_stand(windows, self._watches, rules.tiers)
        groups = {reading.device: GROUP for reading in taken}
        wanted |= groups_must_stand(taken, rules, self._watches, groups)
        arrivals = arrivals_of(taken, rules)
        ready = told_until(arrivals, self._silences, late_s) / 1000
        deadline = max(time.time(), ready) + DELIVERED_S
        while True:
            now, heard = time.time(), self.heard()
            found = compare(heard, wanted, taken, self._watches, rules.tiers, late_s).and_also(
                compare_silences(heard, arrivals, self._silences, round(now * 1000), late_s)
            )
            is_told = found.exact and now > ready and not self.waiting()
            if is_told or now > deadline:
                return found
            time.sleep(0.3)
