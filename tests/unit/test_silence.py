"""Rules of silence: what is decided of what is known, and what is read to know it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.alerts.alarms import Alarms
from consumers.alerts.rule_file import parse_rules
from consumers.alerts.rules import Rule
from consumers.alerts.transition import transition_id
from consumers.fleet.deadlines import Deadlines
from consumers.fleet.shards import Shards
from consumers.fleet.silence import Heard, Silence
from consumers.fleet.tables import Member, Page
from consumers.kcl.leases import Lease
from ingest.tables.hot import window_name
from tests.harness.alerts import Receiver
from tests.harness.fleet import MemoryFleet, Sent, open_duty
from tests.harness.stores import MemoryDynamo

NOW = 1_795_420_800_000
LIMIT = 600_000
RULE = parse_rules('[[rule]]\nname = "gone"\nsilent = "10m"\n')[0][2]


def told(alarms: Alarms, heard: Heard, as_of: int) -> list[str]:
    """The kinds of transitions that follow from what is known."""
    before = len(alarms.outbox)
    alarms.evaluations = [Silence(RULE, heard, as_of)]
    alarms.apply()
    return [one.transition.kind for one in alarms.outbox[before:]]


def test_a_silence_is_raised_at_its_limit_once_and_cleared_when_the_device_is_heard() -> None:
    alarms, heard = Alarms("pump-1"), Heard(NOW, NOW - 200)
    assert told(alarms, heard, NOW + LIMIT - 1) == []
    assert told(alarms, heard, NOW + LIMIT) == ["raised"]
    assert told(alarms, heard, NOW + 2 * LIMIT) == []
    raised = alarms.outbox[0].transition
    key = window_name("silent", NOW - 200 + LIMIT)
    assert raised.id == transition_id("gone", "pump-1", key, "raised")
    assert (raised.as_of, raised.text) == (NOW + LIMIT, "pump-1 has sent nothing for 600 s")
    again = NOW + 3 * LIMIT
    assert told(alarms, Heard(again, again), again) == ["cleared"]
    assert told(alarms, Heard(again, again), again + LIMIT) == ["raised"]


def test_a_silence_that_was_none_is_withdrawn() -> None:
    alarms = Alarms("pump-1")
    told(alarms, Heard(NOW, NOW), NOW + LIMIT)
    assert told(alarms, Heard(NOW + 400_000, NOW + 400_000), NOW + LIMIT) == ["withdrawn"]
    assert alarms.outbox[1].transition.withdraws == alarms.outbox[0].transition.id
    assert alarms.open_rules == []
    assert told(alarms, Heard(NOW + 400_000, NOW + 400_000), NOW + 2 * LIMIT) == ["raised"]


def test_who_knows_less_than_what_was_decided_on_changes_nothing() -> None:
    alarms, again = Alarms("pump-1"), NOW + LIMIT + 5_000
    told(alarms, Heard(NOW, NOW), NOW + LIMIT)
    told(alarms, Heard(again, again), again)
    assert told(alarms, Heard(NOW, NOW), NOW + 2 * LIMIT) == []


def test_a_device_that_may_have_been_heard_is_not_silent() -> None:
    heard = Heard(NOW, NOW - 7_200_000, blind_ms=60_000)
    alarms = Alarms("pump-1")
    assert told(alarms, heard, NOW + LIMIT + 59_999) == []
    assert told(alarms, heard, NOW + LIMIT + 60_000) == ["raised"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 50)), max_size=40))
def test_deadlines_give_each_name_once_at_its_newest_time(sets: list[tuple[str, int]]) -> None:
    deadlines, naive = Deadlines(), dict[str, int]()
    for name, due in sets:
        deadlines.set(name, due)
        naive[name] = due
    for now in range(0, 60, 7):
        want = {name for name, due in naive.items() if due <= now}
        assert set(deadlines.take(now, most=10)) == want
        for name in want:
            del naive[name]
    assert len(deadlines) == 0


def test_a_device_is_known_until_its_own_shards_are_written() -> None:
    half, shards = 2**127, Shards(settle_ms=20_000)
    leases = [
        Lease("parent", "w", 1, "SHARD_END", hashes=(0, 2**128 - 1)),
        Lease("low", "w", 1, "5", hashes=(0, half - 1)),
        Lease("high", "w", 1, "5", hashes=(half, 2**128 - 1)),
    ]
    shards.saw(leases)
    names = [f"pump-{number}" for number in range(20)]

    def report(at: int, low: int, high: int) -> set[int]:
        lags = [{"shard": "low", "lag_ms": low}, {"shard": "high", "lag_ms": high}]
        shards.heard([{"updated_at": at, "shards": lags}])
        return {shards.written_until(name) for name in names}

    assert {shards.written_until(name) for name in names} == {0}  # nobody has reported
    assert report(NOW, 0, 0) == {0}  # what was before is not known
    assert report(NOW + 10_000, 0, 0) == {0}
    assert report(NOW + 20_000, 0, 0) == {NOW + 20_000}
    assert report(NOW + 30_000, 16_000, 0) == {NOW + 14_000, NOW + 30_000}
    assert report(NOW + 40_000, 0, 0) == {NOW + 14_000, NOW + 40_000}  # read, and not written yet
    assert shards.all_written_until == NOW + 14_000
    assert report(NOW + 50_000, 0, 0) == {NOW + 50_000}
    assert report(NOW + 70_000, 0, 0) == {NOW + 50_000}  # nobody has reported for a while


def watch(fleet: MemoryFleet, dynamo: MemoryDynamo, seconds: int, until: str = "") -> int | None:
    """Let a worker that begins have the duty; the time (ms) at which a kind was told."""
    duty, receiver = open_duty(fleet, dynamo, random.Random(1)), Receiver(dynamo, random.Random(1))
    for _ in range(seconds):
        duty.round()
        receiver.take(forgets=0)
        if any(one.kind == until for one in receiver.got):
            return fleet.now
        fleet.now += 1000
    return None


def one_device(
    silent_from: int, rules: Sequence[Rule] = (RULE,)
) -> tuple[MemoryFleet, MemoryDynamo]:
    """A device that sends every 20 s until then; the roster has its newest state a minute late."""
    dynamo = MemoryDynamo()
    fleet = MemoryFleet(rules, dynamo)
    fleet.now = NOW
    fleet.sent["pump-1"] = [
        Sent(at, at - 300, at + 15_000, at + 60_000) for at in range(NOW, silent_from + 1, 20_000)
    ]
    fleet.sent["never"] = []
    return fleet, dynamo


@pytest.mark.parametrize("restarts", [False, True])
def test_a_silence_is_found_within_60_s_of_its_limit(restarts: bool) -> None:
    silent_from = NOW + 100_000
    fleet, dynamo = one_device(silent_from)
    if restarts:  # the worker that knew the device is gone before the limit
        assert watch(fleet, dynamo, 600, "raised") is None
    found = watch(fleet, dynamo, 1000, "raised")
    assert found is not None
    assert silent_from + LIMIT <= found <= silent_from + LIMIT + 60_000


def test_a_silence_is_not_decided_while_the_devices_shard_is_behind() -> None:
    fleet, dynamo = one_device(NOW)
    fleet.behind = lambda _: max(0, fleet.now - NOW - 60_000)
    assert watch(fleet, dynamo, 1500, "raised") is None


class ManyDevices(MemoryFleet):
    """A fleet of 100,000 that reports every ten seconds, of which the roster is up to ten minutes
    behind, as with ``standard``."""

    devices = 100_000

    def _number(self, device: str) -> Member:
        number = int(device[2:])
        flushed = self.now - (self.now + number * 6) % 600_000
        return Member(device, "", "", flushed, flushed - 500)

    def scan(self, more: int | None = None) -> Page:
        start = more or 0
        self.reads["scanned"] += 1000
        names = [f"d-{number}" for number in range(start, start + 1000)]
        end = start + 1000
        return Page([*map(self._number, names)], self.now, end if end < self.devices else None)

    def members(self, devices: Sequence[str]) -> Page:
        self.reads["members"] += len(devices)
        return Page([*map(self._number, devices)], self.now)

    def newest_ts(self, device: str) -> int:
        self.reads["windows"] += 1
        return self.now - 20_000


def test_100_000_devices_that_report_are_read_once_a_limit_and_scanned_every_five_minutes() -> None:
    fleet, dynamo = ManyDevices([RULE], MemoryDynamo()), MemoryDynamo()
    fleet.now, watch_s = NOW, 1200
    watch(fleet, dynamo, watch_s)
    before = dict.fromkeys(fleet.reads, 0)
    scans = (fleet.reads["scanned"] - before["scanned"]) / fleet.devices
    looks = (fleet.reads["members"] - before["members"]) / fleet.devices
    assert scans <= watch_s / 300 + 1
    assert looks <= watch_s / 600
    assert fleet.reads["windows"] - before["windows"] < fleet.devices / 100
    assert not dynamo.tables.get("alerts")
