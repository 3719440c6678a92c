"""An alarm does not wait until its windows are due, and what raises none costs no write more."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import msgspec
import pytest

from consumers.alerts.rule_file import parse_rules
from consumers.aws.in_flight import OneAtATime
from consumers.hot.store import HotStore
from consumers.shard.report import ShardStats, Transitions, parse
from infra.worker.alerting import Told
from ingest.tables.alarms import RuleState
from ingest.tiers import Tier
from tests.harness.alerts import with_rules
from tests.harness.shard import LIMITS, NOW, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

PEAK = '[[rule]]\nname = "peak"\ntier = "10s"\nwhen = "max(t) > 80"\n'
WARM = '[[rule]]\nname = "warm"\ntier = "10s"\nwhen = "mean(t) > 80"\n'
THRICE = PEAK + "for = 3\n"
SLOW = (Tier("10s", 30.0, 3600),)
LIVE = (Tier("10s", 1.0, 3600),)
PROMPT_S = 0.6


class Pump:
    """A device, its shard and a worker with rules (text of a file), in virtual time (s)."""

    def __init__(self, text: str, tiers: Sequence[Tier]) -> None:
        self.dynamo, self.shard, self.now, self.seq = MemoryDynamo(), Shard(), 0.0, 0
        self.hot: HotStore
        rules = [rule for _, _, rule in parse_rules(text)] if text else []

        def wrap(hot: HotStore) -> HotStore:
            self.hot = hot
            if not rules:
                return hot
            return with_rules(hot, rules, self.dynamo, tiers, OneAtATime(), lambda: True)

        self.worker = open_worker(
            self.shard, self.dynamo, MemoryS3(), lambda: self.now, tiers=tiers,
            limits=LIMITS._replace(age_s=3600.0), fold_wrapper=wrap,
        )  # fmt: skip

    def send(self, value: float) -> None:
        """A reading of this moment."""
        at = NOW + round(self.now * 1000)
        self.shard.put("pump", payload("boot-one", self.seq, [(at, {"t": value})]), at, at)
        self.seq += 1
        self.worker.process(self.shard.records[-1:])

    def wait(self, seconds: float, step: float = 0.05) -> None:
        """Time passes, and the daemon comes by without records."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now += step
            self.worker.process(())

    def told(self) -> list[str]:
        """What happened to the alarms, as recorded."""
        items = self.dynamo.tables.get("alerts", {}).values()
        states = [
            msgspec.json.decode(item["states"]["S"], type=dict[str, RuleState]) for item in items
        ]
        return [entry.kind for each in states for state in each.values() for entry in state.log]


@pytest.fixture
def known() -> Pump:
    """A pump that was heard before, with windows that wait half a minute to be written."""
    pump = Pump(PEAK, SLOW)
    pump.send(20)
    pump.wait(31)
    return pump


def test_a_reading_that_raises_an_alarm_is_written_at_once(known: Pump) -> None:
    known.send(95)
    known.wait(PROMPT_S)
    assert known.told() == ["raised"]


def test_a_finished_window_that_clears_is_written_with_the_first_reading_after_it(
    known: Pump,
) -> None:
    known.send(95)
    known.wait(10)
    known.send(20)
    known.wait(PROMPT_S)
    known.wait(10)
    assert known.told() == ["raised"]
    known.send(20)
    known.wait(PROMPT_S)
    assert known.told() == ["raised", "cleared"]


def test_a_mean_is_decided_with_the_first_reading_after_its_window() -> None:
    pump = Pump(WARM, SLOW)
    pump.send(20)
    pump.wait(31)
    pump.send(95)
    pump.wait(PROMPT_S)
    assert pump.told() == []  # more readings may change it
    pump.wait(10)
    pump.send(20)
    pump.wait(PROMPT_S)
    assert pump.told() == ["raised"]


def written(rules: str, values: Sequence[float], every_s: float, tiers: Sequence[Tier]) -> int:
    """Items that are written for these values of a pump."""
    pump = Pump(rules, tiers)
    for value in values:
        pump.send(value)
        pump.wait(every_s)
    pump.wait(40)
    return pump.hot.items_written


@pytest.mark.parametrize("every_s", [0.1, 0.25, 1.5])
@pytest.mark.parametrize("tiers", [LIVE, SLOW], ids=["live", "slow"])
def test_what_changes_no_alarm_costs_no_write_more(every_s: float, tiers: Sequence[Tier]) -> None:
    calm = [20.0 + n % 7 for n in range(200)]
    assert written(PEAK + WARM, calm, every_s, tiers) <= written("", calm, every_s, tiers)


def test_a_peak_that_is_not_yet_long_enough_is_not_hurried() -> None:
    peak = [20.0] * 110 + [95.0] * 60
    plain, hurried = written("", peak, 0.1, SLOW), written(THRICE, peak, 0.1, SLOW)
    assert hurried <= plain


def test_a_transition_costs_two_windows_at_most() -> None:
    times = [20.0 if n % 100 < 50 else 95.0 for n in range(600)]
    plain, hurried = written("", times, 0.2, SLOW), written(PEAK, times, 0.2, SLOW)
    pump = Pump(PEAK, SLOW)
    for value in times:
        pump.send(value)
        pump.wait(0.2)
    changes = len(pump.told())
    assert changes > 5
    assert hurried <= plain + 2 * changes


def test_a_shards_process_tells_its_supervisor_whose_alarms_changed() -> None:
    lines: list[bytes] = []
    stats = ShardStats("shard", lambda: NOW, write=lines.append)
    stats.on_transitions(["pump-1", "pump-2"])
    stats.on_transitions([f"pump-{n}" for n in range(1000)])
    first, many = map(parse, lines)
    assert first == Transitions(["pump-1", "pump-2"])
    assert isinstance(many, Transitions)
    assert len(many.devices) == 100  # who delivers finds the others by itself


def test_who_delivers_wakes_when_it_is_told_and_takes_each_device_once() -> None:
    told = Told()
    taken: list[list[str]] = []
    waiting = threading.Thread(target=lambda: taken.append(told.take(30.0)))
    began = time.monotonic()
    waiting.start()
    told.tell(["a", "b", "a"])
    waiting.join(10)
    assert taken == [["a", "b"]]
    assert time.monotonic() - began < 10
    assert told.take(0.0) == []
