"""Invariant T for rules of silence and of groups, under random schedules.

Workers that have the duty die at any call, begin anew, and are two at a time: one does a round
while the other is between two calls. Replies of writes get lost, shards fall behind, readings come
late, clocks of devices jump. What the receiver of the events believes at the end must be what
follows from when the devices were heard.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import to_builtins

from consumers.alerts.alarms import AlarmsCodec
from consumers.alerts.plan import Plan
from consumers.alerts.rule_file import parse_rules
from consumers.alerts.transition import GROUP, decide, transition_id
from consumers.fleet.duty import FleetDuty
from consumers.fleet.groups import merged_windows
from consumers.fleet.shards import Shards
from consumers.fleet.silence_watch import SilenceWatch
from ingest.tables.hot import window_name
from simulator.verification.silences import compare_silences, silence_watch_of
from simulator.verification.transitions import Heard
from tests.harness.alerts import Receiver
from tests.harness.fleet import SHARDS, TIER, Killed, MemoryFleet, Sent, open_duty
from tests.harness.stores import MemoryDynamo

LIMIT_MS = 120_000
STEP_MS = 5_000
LAST_MS = 300_000
BEGIN = 1_795_420_800_000

RULES = [
    rule
    for _, _, rule in parse_rules(
        """
        [[rule]]
        name = "gone"
        silent = "2m"

        [[rule]]
        name = "hall-hot"
        tier = "10s"
        per = "group"
        when = "mean(temperature) > 5"
        clear = "mean(temperature) < 4"

        [[rule]]
        name = "hall-long"
        tier = "10s"
        per = "group"
        when = "max(temperature) > 8"
        for = "2 of 3"
        clear_for = 2
        """
    )
]


class FleetSchedule:
    """Devices that send and fall silent, and the workers that watch them."""

    def __init__(self, seed: int) -> None:
        self.random = chance = random.Random(seed)
        self.dynamo = MemoryDynamo(self._fault)
        self.fleet = MemoryFleet(RULES, self.dynamo)
        self.fleet.now = BEGIN
        self.fleet.interrupt = self._interrupt
        self.receiver = Receiver(self.dynamo, random.Random(seed + 1))
        self.silences: dict[str, list[tuple[int, bool]]] = {}
        self.jumped: set[str] = set()
        self.fault_rate = 0.1
        self.duties: list[FleetDuty] = []
        self._nested = False
        self._at_work: FleetDuty | None = None
        late_from = BEGIN + chance.randint(300, 1500) * 1000
        self._late = late_from, late_from + chance.randint(0, 300) * 1000, chance.choice(SHARDS)
        self.fleet.behind = self._behind
        self.end = BEGIN
        for index in range(4):
            self._send(f"pump-{index}", chance)
        for device in [one for one in self.silences if chance.random() < 0.5]:
            self._send_on(device, self.end + LAST_MS)
        self.fleet.sent["never"] = []

    def _send(self, device: str, chance: random.Random) -> None:
        """What a device sends: spans in which it reports, and long silences between them."""
        at, offset, sent = BEGIN + chance.randint(0, 9_000), 0, []
        silences: list[tuple[int, bool]] = []
        spans = chance.randint(1, 3)
        every = chance.choice([7_000, 20_000, 45_000])
        for span in range(spans):
            for _ in range(chance.randint(1, 8)):
                if chance.random() < 0.02:
                    offset -= chance.choice([90_000, 7_200_000])  # its clock jumps back
                    self.jumped.add(device)
                taken = self._taken(device, at)
                in_window = taken + chance.randint(0, 20_000)
                in_roster = taken + chance.randint(0, 60_000)
                ts = at - chance.randint(50, 1500) + offset
                sent.append(Sent(at, ts, in_window, in_roster, chance.uniform(0, 10)))
                at += every + chance.randint(0, 3_000)
            silences.append((sent[-1].ts, span < spans - 1))
            at += chance.randint(900, 1200) * 1000
        self.fleet.sent[device] = sent
        self.fleet.group[device] = chance.choice(["", "hall", "hall"])
        self.silences[device] = silences
        self.end = max(self.end, at)

    def _send_on(self, device: str, until: int) -> None:
        """A device is heard again, and sends until the end."""
        self.fleet.group[device] = ""
        (*others, (ts, _)) = self.silences[device]
        self.silences[device] = [*others, (ts, True)]
        first = self.end - self.random.randint(100, 400) * 1000
        for at in range(max(first, ts + 900_000), until, 20_000):
            taken = self._taken(device, at)
            self.fleet.sent[device].append(Sent(at, at - 100, taken + 9_000, taken + 50_000))

    def _taken(self, device: str, at: int) -> int:
        """When a worker reads what was received at ``at``: late while the shard is behind."""
        start, end, shard = self._late
        return end if start <= at < end and shard == _shard_of(device) else at

    def _behind(self, shard: str) -> int:
        start, end, behind = self._late
        return self.fleet.now - start if shard == behind and start <= self.fleet.now < end else 0

    def _fault(self, _: str) -> str:
        if self.random.random() < self.fault_rate:
            return self.random.choice(["throttle", "lost_before", "lost_after"])
        return "ok"

    def _interrupt(self, _: str) -> None:
        if self.random.random() < self.fault_rate / 4:
            raise Killed
        others = [one for one in self.duties if one is not self._at_work]
        if others and not self._nested and self.random.random() < self.fault_rate / 4:
            self._nested = True  # the other worker does a round meanwhile
            try:
                self._round(others[0])
            finally:
                self._nested = False

    def _round(self, duty: FleetDuty) -> None:
        if not self._nested:
            self._at_work = duty
        try:
            duty.round()
        except Killed:
            with contextlib.suppress(ValueError):
                self.duties.remove(duty)

    def run(self) -> None:
        down_until = 0
        while self.fleet.now < self.end:
            now = self.fleet.now
            if not self.duties and now >= down_until:
                self.duties = [open_duty(self.fleet, self.dynamo, self.random)]
            elif self.random.random() < 0.02 and len(self.duties) < 2:
                self.duties.append(open_duty(self.fleet, self.dynamo, self.random))
            for duty in list(self.duties):
                if duty in self.duties:  # it may have died while another was at work
                    self._round(duty)
            if not self.duties and now >= down_until:
                down_until = now + self.random.randint(0, 60_000)
            self.receiver.take()
            self.fleet.now += STEP_MS
        self.fault_rate = 0.0
        self.duties = [open_duty(self.fleet, self.dynamo, self.random)]
        for _ in range(LAST_MS // STEP_MS):
            self.duties[0].round()
            self.fleet.now += STEP_MS
        self.receiver.take(forgets=0)

    def violations(self) -> list[str]:
        found: list[str] = []
        contents: dict[str, Any] = {}
        for one in self.receiver.got:
            if contents.setdefault(one.id, one) != one:
                found.append(f"two transitions under one id: {one} {contents[one.id]}")
        return found + self._of_silence() + self._of_groups()

    def _of_silence(self) -> list[str]:
        found = []
        told = [one for one in self.receiver.once if one.rule == "gone"]
        wrong = {one.withdraws for one in told if one.withdraws}
        standing = [one for one in told if not one.withdraws and one.id not in wrong]
        for device, silences in self.silences.items():
            want: list[tuple[str, str]] = []
            for ts, heard_again in silences:
                key = window_name("silent", ts + LIMIT_MS)
                kinds = ["raised", "cleared"] if heard_again else ["raised"]
                want += [(kind, transition_id("gone", device, key, kind)) for kind in kinds]
            have = [(one.kind, one.id) for one in standing if one.device == device]
            if device in self.jumped:  # which times a jumping clock gives is not the point
                have, want = [(kind, "") for kind, _ in have], [(kind, "") for kind, _ in want]
            if have != want:
                found.append(f"silence of {device}: {have}, not {want}")
        found += [f"extra: {one}" for one in standing if one.device == "never"]
        return found + self._as_the_simulator_says()

    def _as_the_simulator_says(self) -> list[str]:
        """The oracle that judges scenarios, which knows the times of jumping clocks too."""
        arrivals = {
            device: [(one.at, one.ts) for one in sent] for device, sent in self.fleet.sent.items()
        }
        watches = [silence_watch_of({"name": "gone", "silent": "2m"})]
        heard = [Heard(to_builtins(one), at=0) for one in self.receiver.got]
        return compare_silences(heard, arrivals, watches, self.fleet.now, found_s=600).differences

    def _of_groups(self) -> list[str]:
        members = [one for one in self.silences if self.fleet.group[one] == "hall"]
        windows = [w for one in members for w in self.fleet.windows(one, TIER, 0, 1 << 50)]
        whole = merged_windows("hall", TIER, windows)
        want: set[Any] = set()
        for rule in RULES[1:]:
            plan = Plan(TIER, [rule])
            verdicts = {at: plan.codes(window, None)[0] for at, window in whole.items()}
            verdicts = {at: code for at, code in verdicts.items() if code}
            for change in decide(rule, None, verdicts, 0, TIER.size_ms):
                want.add((rule.name, f"{GROUP}hall", change.entry.window, change.entry.kind))
        have = {one for one in self.receiver.standing() if one[0] != "gone"}
        if any(device in self.jumped for device in members) or self._came_too_late(members):
            return []
        return [f"groups: {sorted(have ^ want)}"] if have != want else []

    def _came_too_late(self, members: list[str]) -> bool:
        """Whether a reading was stored later than windows are decided again."""
        sent = [one for name in members for one in self.fleet.sent[name]]
        return any(one.in_window - one.ts > 3 * TIER.size_ms for one in sent)


def _shard_of(device: str) -> str:
    """The shard that takes a device's records: its hash key's half."""
    return SHARDS[hashlib.md5(device.encode(), usedforsecurity=False).digest()[0] >> 7]


def violations(seed: int) -> list[str]:
    schedule = FleetSchedule(seed)
    schedule.run()
    return schedule.violations()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.integers(0, 2**32))
def test_silences_and_groups_are_told_once_whoever_watches_and_whatever_dies(seed: int) -> None:
    assert violations(seed) == []


def _mutant_id_from_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1 << 60))
    monkeypatch.setattr("consumers.alerts.transition.transition_id", lambda *_: str(next(ticks)))


def _mutant_a_write_without_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker decides on what it knows, as if nobody else did."""

    def merge(self: Any, item: Any, stored: Any) -> bool:
        item.loaded, item.ver = True, int(stored["ver"]["N"]) if stored else 0
        return bool(item.apply())

    monkeypatch.setattr(AlarmsCodec, "merge_stored", merge)


def _mutant_forget_what_is_open_when_the_duty_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SilenceWatch, "found_open", lambda *_: None)


def _mutant_decide_while_a_shard_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shards, "written_until", lambda *_: 1 << 50)


def _mutant_decide_groups_before_their_windows_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.fleet.group_watch.MARGIN_MS", -40_000)
    monkeypatch.setattr("consumers.fleet.group_watch.AGAIN", 0)
    monkeypatch.setattr(Shards, "all_written_until", property(lambda _: 1 << 50))


@pytest.mark.parametrize(
    "mutant",
    [
        _mutant_id_from_the_clock,
        _mutant_a_write_without_the_version,
        _mutant_forget_what_is_open_when_the_duty_moves,
        _mutant_decide_while_a_shard_is_behind,
        _mutant_decide_groups_before_their_windows_are_written,
    ],
    ids=lambda mutant: mutant.__name__[8:],
)
def test_the_oracle_of_the_fleet_notices_when_the_code_is_broken(
    mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert any(violations(seed) for seed in range(60))


@pytest.mark.parametrize(
    "mutant",
    [
        _mutant_a_write_without_the_version,
        _mutant_forget_what_is_open_when_the_duty_moves,
        _mutant_decide_while_a_shard_is_behind,
    ],
    ids=lambda mutant: mutant.__name__[8:],
)
def test_the_oracle_of_scenarios_notices_it_too(
    mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)

    def differs(seed: int) -> bool:
        schedule = FleetSchedule(seed)
        schedule.run()
        return bool(schedule._as_the_simulator_says())

    assert any(differs(seed) for seed in range(60))
