"""Alarms while what records and delivers them dies, is away, or works twice: invariant T.

The rules are met and not met by turns, on windows of two seconds: a fault falls among many
transitions.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from consumers.failpoints import Point
from devices.batch import Outgoing
from ingest.message import Reading
from ingest.tiers import Tier
from simulator.load.senders import messages as cut_messages
from simulator.verification.ledger import OK
from tests.chaos.faults import on_own_site
from tests.chaos.faults.archive import ended, penstock, this_hour
from tests.chaos.faults.processes import until_restarted, working
from tests.chaos.plan import Fault, Rule
from tests.chaos.site import RunningWorker, Site

WINDOW: Final = Tier("2s", flush_s=0.3, ttl_s=6 * 3600)
LONGER: Final = Tier("10s", flush_s=0.3, ttl_s=6 * 3600)
"""Longer than workers take to know a changed rule (:data:`consumers.alerts.store.READ_S`)."""
WITH_ALERTS: Final[dict[str, Any]] = {"alerts": True, "tiers": (WINDOW, LONGER)}
DEVICES: Final = 12
DOWN_S: Final = 60.0
LONG_AGO_MS: Final = -3_600_000
ALWAYS, NEVER = -1e6, 1e6
"""Levels that every device is above, and that none is."""
RAISED: Final = ("raised",)
ENDED: Final = ("cleared", "withdrawn")
"""What becomes of an alarm by a new rule: it was raised in a window that the new one decides, or
before."""

RULES: Final = """
[[rule]]
name = "rising"
tier = "TIER"
when = "change(voltage) > 0.0137"
severity = "info"

[[rule]]
name = "falling"
tier = "TIER"
when = "change(voltage) < -0.0137"
for = "2 of 3"
clear_for = 2

[[rule]]
name = "high"
tier = "TIER"
when = "max(power) > LEVEL"
clear = "max(power) < LEVEL"
severity = "critical"
"""
"""``high`` is decided before its window is finished."""


def rules(level: float, tier: Tier) -> str:
    """The rules on windows of a size, with a level for the one that is decided early."""
    return RULES.replace("LEVEL", f"{level}").replace("TIER", tier.name)


@contextmanager
def alarming(
    site: Site, seconds: float, shards: int = 2, level: float = 1000.0, tier: Tier = WINDOW
) -> Iterator[RunningWorker]:
    """A worker with the rules at work, under load, once the first alarms are on the bus."""
    site.alarms.apply(rules(level, tier), ahead_ms=LONG_AGO_MS)
    with site.load(seconds, devices=DEVICES, rate=4):
        worker = working(site, shards)
        site.until(lambda: len(site.alarms.heard()) > 5, 60, "alarms")
        yield worker


def bus(fault: Fault, **more: Any) -> Rule:
    """What goes wrong with the bus."""
    return Rule("events", fault, "PutEvents", **more)


@on_own_site(**WITH_ALERTS)
def a_child_dies_between_a_transition_and_its_delivery(site: Site) -> None:
    """Transitions are recorded while the bus takes none, and the child that recorded them is
    killed, as is one that wrote windows and had not decided them. Then the bus takes transitions
    again, but its answers get lost."""
    with alarming(site, 25) as worker:
        site.spoil(bus(Fault.ERROR))
        points: tuple[Point, ...] = ("alerts_recorded", "windows_durable")
        for restarts, point in enumerate(points, start=1):
            site.arm(point, "crash")
            site.until(partial(site.struck, point), 30, f"the failpoint {point}")
            until_restarted(site, worker, restarts)
        site.until(site.alarms.waiting, 30, "transitions that wait")
        plan = site.spoil(bus(Fault.REPLY_LOST, rate=0.4, times=10))
        site.until(lambda: not plan.idle(), 60, "a lost answer of the bus")


@on_own_site(**WITH_ALERTS)
def the_bus_of_alarms_is_down_for_a_minute(site: Site) -> None:
    """Transitions wait in the outboxes for a minute, and are delivered in order."""
    with alarming(site, DOWN_S + 12):
        before = len(site.alarms.heard())
        site.spoil(bus(Fault.ERROR, end_s=DOWN_S))
        site.alarms.undeliverable_s = DOWN_S
        site.until(lambda: site.alarms.waiting() > 5, 30, "transitions that wait")
        site.until(lambda: len(site.alarms.heard()) > before + 20, DOWN_S + 30, "their delivery")


@on_own_site(shards=4, **WITH_ALERTS)
def two_workers_evaluate_the_same_shards(site: Site) -> None:
    """A worker is frozen while it writes windows, loses its shards, and comes back with windows in
    memory that are older than those stored."""
    with alarming(site, 30, shards=4) as leader:
        zombie = site.start_worker()
        site.until(zombie.children, 60, "children of the second worker")
        site.until(lambda: zombie.worker.status.snapshot()["durable"], 30, "its windows")
        plan = site.spoil(Rule("dynamodb", Fault.DELAY, "BatchExecuteStatement", times=6))
        site.until(lambda: not plan.idle(), 20, "a flush")
        frozen = [zombie.daemon, zombie.worker.fork_server_pid, *zombie.children()]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            site.until(lambda: len(leader.children()) >= 4, 60, "the other worker's children")
        finally:
            for pid in frozen:  # on a busy machine, its supervisor has ended it by now
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@on_own_site(**WITH_ALERTS)
def a_day_is_replayed_and_read_again(site: Site) -> None:
    """The archive is folded into the windows once more, and the stream is read from its beginning:
    no transition comes under another id, and none is new."""
    with alarming(site, 15) as worker:
        pass
    assert site.violations() == []
    before = {one.event["id"] for one in site.alarms.heard()}
    worker.end()
    site.dynamodb.delete_table(TableName=site.settings.application)
    site.create_leases()
    replayed = penstock(site, "replay", *this_hour())
    again = site.start_worker()
    site.until(again.children, 60, "children of the new worker")
    assert ended(replayed)["readings"] > 0
    site.drain()
    site.until(lambda: not site.alarms.waiting(), 30, "the delivery of what waits")
    assert {one.event["id"] for one in site.alarms.heard()} == before


@on_own_site(**WITH_ALERTS)
def a_rule_changes_under_load(site: Site) -> None:
    """A level moves between one that all devices reach and one that none does, while devices send
    and a child is killed: windows that end after the change are decided by the new rule alone, and
    the other rules go on as before."""
    with alarming(site, 30, level=ALWAYS, tier=LONGER) as worker:
        site.until(partial(_everybody, site, RAISED, 0), 60, "every device is raised")
        for level, kinds in ((NEVER, ENDED), (ALWAYS, RAISED), (NEVER, ENDED)):
            since = time.time_ns() // 1_000_000
            site.alarms.apply(rules(level, LONGER), ahead_ms=0)
            if level == ALWAYS:
                os.kill(worker.children()[0], signal.SIGKILL)
            done = partial(_everybody, site, kinds, since)
            site.until(done, 40, f"every device is {kinds[0]}")


def _everybody(site: Site, kinds: Sequence[str], since: int) -> bool:
    """Whether the rule of the level made such a transition on every device after a time."""
    told = {
        one.event["device"]
        for one in site.alarms.heard()
        if one.event["rule"] == "high"
        and one.event["kind"] in kinds
        and one.event["window"] + LONGER.size_ms > since
    }
    return len(told) == DEVICES


@on_own_site(**WITH_ALERTS)
def the_clocks_of_devices_jump(site: Site) -> None:
    """Clocks go a minute ahead and a quarter of an hour back, among readings that come late and out
    of order; a child dies while windows are decided again."""
    site.alarms.apply(rules(1000.0, WINDOW), ahead_ms=LONG_AGO_MS)
    worker = site.start_worker()
    site.until(lambda: len(worker.children()) >= 2, 90, "a child for each shard")
    jumps = [0, 0, 60_000, 0, -900_000, -10_000, 0, 30_000, -4_000, 0]
    for step, jump in enumerate(jumps):
        now = time.time_ns() // 1_000_000
        if step == len(jumps) // 2:
            site.arm("windows_durable", "crash")
        site.put([one for device in range(8) for one in _wave(device, step, now + jump)])
        if step == len(jumps) // 2:
            site.until(lambda: site.struck("windows_durable"), 30, "the failpoint")
            site.until(lambda: worker.worker.status.restarts, 60, "a restart of the daemon")
        else:
            site.drain()
    site.until(lambda: len(site.alarms.heard()) > 5, 30, "alarms")


def _wave(device: int, step: int, start: int) -> Iterator[tuple[str, Outgoing, str]]:
    """Readings of one device over ten seconds of its clock, the later half first."""
    name, boot, seq = f"jumping-{device}", f"jump{step:04d}x", 0
    readings = [
        Reading(start + 250 * n, {
            "voltage": 230.0 + ((n // 8 + device) % 3) * 0.7,
            "power": 950.0 + 100.0 * ((n // 16 + step) % 2),
        })
        for n in range(40)
    ]  # fmt: skip
    for part in (readings[20:], readings[:20]):
        for message in cut_messages(boot, seq, part):
            yield name, message, OK
        seq += len(part)
