"""A scenario's alert rules at work on a stack of its own, and what its bus carries: invariant T."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from consumers.alerts.rule_file import parse_rules
from consumers.alerts.rules import Rule
from consumers.alerts.store import READ_S
from infra.alarms import applied_rules, apply_rules
from infra.simulation.hearing import Listener
from infra.target import Target
from simulator.scenario import Scenario
from simulator.verification.ledger import read_entries, read_meta
from simulator.verification.observe import Clients, observe
from simulator.verification.oracle import Rules
from simulator.verification.silences import (
    SilenceWatch,
    arrivals_of,
    compare_silences,
    silence_watch_of,
    told_until,
)
from simulator.verification.transitions import (
    Alarms,
    compare,
    groups_must_stand,
    must_stand,
)
from simulator.verification.verifier import Verifier
from simulator.verification.watches import Watch, watch_of

GROUP: Final = "scenario"
"""The group of a scenario's devices."""

QUIET_S: Final = 15.0
"""A comparison that stays the same for so long is the result."""


@dataclass(frozen=True)
class HeardAlarms:
    """The rules of a run as the oracle reads them, and who hears its bus."""

    watches: Sequence[Watch]
    silences: Sequence[SilenceWatch]
    listener: Listener


def deployment_rules(scenario: Scenario) -> list[Rule]:
    """The scenario's rules as a deployment has them."""
    text = "\n".join(
        "[[rule]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in entry.items())
        for entry in scenario.rule
    )
    return [rule for _, _, rule in parse_rules(text, scenario.name)] if text else []


def _toml(value: Any) -> str:
    """A value of a rule: text, a number, or a list of texts, which JSON writes as TOML does."""
    return orjson.dumps(value).decode()


@contextmanager
def alarms_at_work(target: Target, scenario: Scenario, heard: Path) -> Iterator[HeardAlarms | None]:
    """Put the rules to work and hear the bus, into a file, while the body runs; ``None`` when the
    scenario has no rules or the deployment no alerts.

    The rules are about windows that end when every worker knows them. A run that was broken off
    goes on with the rules that it has.
    """
    rules = deployment_rules(scenario)
    if not rules or not target.settings.alerts:
        yield None
        return
    with Listener(target, heard) as listener:
        apply_rules(target, rules, time.time_ns() // 1_000_000 + round((READ_S + 1) * 1000))
        since = {rule.name: rule.since for rule in applied_rules(target).rules}
        silent = [one for one in scenario.rule if "silent" in one]
        watches = [
            watch_of(one)._replace(since=since[one["name"]])
            for one in scenario.rule
            if one not in silent
        ]
        yield HeardAlarms(watches, [silence_watch_of(one) for one in silent], listener)


def compare_alarms(target: Target, ledger: Path, alarms: HeardAlarms) -> Alarms:
    """What was heard against what must stand after everything that a ledger has; waits until the
    silence of the devices that have stopped is told, and as long as the comparison changes."""
    meta, entries = read_meta(ledger), list(read_entries(ledger))
    clients = Clients(target.client("dynamodb", "simulator"), target.client("s3", "simulator"))
    observed = observe(clients, target.settings, target.account, None)
    rules = Rules(meta.tiers, meta.clock_ahead_s)
    verifier = Verifier(entries, observed, rules, now_s=time.time(), exclusive=True)
    verifier.report()
    groups = {entry.device: GROUP for entry in entries}
    wanted = must_stand(verifier.wanted, alarms.watches, meta.tiers)
    wanted |= groups_must_stand(verifier.taken, rules, alarms.watches, groups)
    arrivals = arrivals_of(verifier.taken, rules)
    ready = told_until(arrivals, alarms.silences) / 1000
    changed, events = time.monotonic(), -1
    while True:
        heard, now = alarms.listener.heard(), time.time()
        if len(heard) != events:
            changed, events = time.monotonic(), len(heard)
        if now > ready:
            found = compare(heard, wanted, verifier.taken, alarms.watches, meta.tiers).and_also(
                compare_silences(heard, arrivals, alarms.silences, round(now * 1000))
            )
            if found.exact or time.monotonic() - changed > QUIET_S:
                return found
        time.sleep(0.3)
