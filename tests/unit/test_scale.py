"""The day at scale: quotas against values worked out by hand, and no reading comes or goes."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cfnlint.decode import decode

from benchmarks.scale import report
from benchmarks.scale.bill import price
from benchmarks.scale.day import Costs, Day, Units, hours
from benchmarks.scale.fleet import A_BATCH, DAY, Fleet, Scenario, placement, shard_of
from benchmarks.scale.ladder import asks, climb
from benchmarks.scale.quotas import (
    CONNECTIONS,
    CONNECTS,
    PUBLISHES,
    TABLE_READS,
    TABLE_WRITES,
    VCPUS,
    WARM_WRITES,
    Account,
    OnDemand,
    Refusals,
)
from benchmarks.scale.service import (
    MEMORY_MB,
    VCPU,
    Service,
    leases_a_task,
    overhead,
    rule_for,
)
from benchmarks.scale.world import play
from infra.emulator.limits.capacity import Rates, TableCapacity

ROOT = Path(__file__).parents[2]
SERVICE: Any = decode(ROOT / "infra" / "templates" / "service.yaml")[0]
COSTS = Costs(Units(1.1, 0.1, 1.0), Units(1.0, 0.01, 1.0), 16e-6, 65e-6, 5_000.0, 350.0)
HOUR = 3_600.0
SMALL = Scenario(
    devices=2_000, shards=4, day_s=4 * 3_600, outage=(HOUR, 2 * HOUR), cut=(3 * HOUR, 3.1 * HOUR)
)
PLENTY = Account({CONNECTS: 1e9, CONNECTIONS: 1e9, PUBLISHES: 1e9})


def test_a_new_table_takes_twice_a_peak_half_an_hour_later_and_its_quota_at_most() -> None:
    table = OnDemand(warm=4_000, quota=10_000)
    table.spend(15_000, 5.0, now=0.0)  # 3,000 a second
    assert (table.limit(1_799), table.limit(1_800)) == (4_000, 6_000)
    table.spend(30_000, 5.0, now=1_800.0)  # 6,000 a second
    assert (table.limit(3_599), table.binding(3_599)) == (6_000, False)
    assert (table.limit(3_600), table.binding(3_600)) == (10_000, True)


def test_a_table_grows_as_the_embedded_one_does() -> None:
    ours, theirs = OnDemand(400, 40_000, 60.0), TableCapacity(Rates(400, 0, 60.0), 0.0)
    for second in range(400):
        assert ours.limit(second) == theirs.limit, second
        units = min(ours.limit(second), 350 + 7 * second)
        ours.spend(units, 1.0, second)
        theirs.spend("key", units, second)
        theirs.admit("key", 0.0, second + 1)  # which closes the second


def test_what_is_refused_is_counted_by_quota() -> None:
    refusals = Refusals()
    assert refusals.admit(CONNECTS, 400.0, 500.0, 0.0) == 400.0
    assert refusals.admit(CONNECTS, 800.0, 500.0, 5.0) == 500.0
    assert refusals.admit(CONNECTS, 1_200.0, 500.0, 10.0) == 500.0
    found = refusals.of[CONNECTS]
    assert (found.first_at, found.asked, found.refused, found.steps) == (5.0, 2_000, 1_000, 2)
    assert found.share == 0.5


def test_a_fleet_connects_as_fast_and_as_far_as_its_quotas_let_it() -> None:
    plan, refusals = replace(SMALL, cut=(1e9, 1e9)), Refusals()
    fleet = Fleet(plan, Account({CONNECTS: 4, CONNECTIONS: 50}), refusals)
    connected = []
    for step in range(4):
        fleet.step(step * plan.step_s)
        connected.append(fleet.connected)
    assert connected == [20, 40, 50, 50]  # 4 a second for 5 s, then 50 at most
    assert refusals.of[CONNECTS].first_at == 0.0
    assert refusals.of[CONNECTIONS].refused == 10 + 20


def test_no_reading_comes_or_goes_on_the_way_into_the_stream() -> None:
    fleet = Fleet(SMALL, Account({CONNECTS: 3, PUBLISHES: 30}), Refusals())
    readings = 0.0
    for step in range(SMALL.steps):
        readings += fleet.step(step * SMALL.step_s).readings
        assert fleet.made == pytest.approx(readings + fleet.spooled + fleet.waiting)
    assert fleet.made == pytest.approx(2_000 / 60 * 4 * HOUR)


def test_a_spool_comes_as_few_messages() -> None:
    plan = replace(SMALL, devices=100, cut=(0.0, 2 * HOUR), day_s=8_000)
    fleet = Fleet(plan, PLENTY, Refusals())
    for step in range(round(2 * HOUR / plan.step_s)):
        fleet.step(step * plan.step_s)
    assert fleet.spooled == pytest.approx(100 * 120)
    sent = fleet.step(2 * HOUR)  # half of them try again within the step
    assert sent.newly == 50
    assert sent.messages == pytest.approx(50 * math.ceil(120 / A_BATCH))
    assert sent.readings == pytest.approx(50 * 120, rel=0.01)


def test_a_device_is_on_the_shard_that_its_hash_key_belongs_to() -> None:
    for device in ("dev-0000000", "dev-0999999", "pump 7"):
        key = int(hashlib.md5(device.encode()).hexdigest(), 16)
        assert (
            shard_of(device, 1_000) == key // (2**128 // 1_000) or key % (2**128 // 1_000) < 1_000
        )
    counts = np.bincount(placement(SMALL), minlength=4)
    assert counts.sum() == 2_000
    assert abs(counts - 500).max() < 4 * math.sqrt(500)


@pytest.fixture(scope="module")
def small() -> Day:
    return play(SMALL, PLENTY, COSTS, placement(SMALL), watch=[0])


def test_what_devices_make_is_on_them_or_in_the_stream_or_folded(small: Day) -> None:
    found = small.readings
    assert found["made"] == pytest.approx(2_000 / 60 * 4 * HOUR)
    assert found["made"] == pytest.approx(
        found["on_devices"] + found["in_the_stream"] + found["folded"], rel=1e-9
    )
    assert small.column("served").sum() * SMALL.step_s == pytest.approx(found["folded"])


def test_the_lag_of_an_outage_is_its_length_and_then_it_is_gone(small: Day) -> None:
    lag = small.column("lag_s")
    times = np.arange(SMALL.steps) * SMALL.step_s
    in_it = (times >= HOUR) & (times < 2 * HOUR)
    assert lag[times < HOUR].max() == 0.0
    assert lag[in_it] == pytest.approx(times[in_it] + SMALL.step_s - HOUR, abs=SMALL.step_s)
    # A task starts in 75 s and its leases move in 20; then 5,000 a second are folded at once.
    assert lag.max() == pytest.approx(HOUR + 75 + 20, abs=2 * SMALL.step_s)
    assert lag[times > 2 * HOUR + 300].max() <= 20.0, "but for leases that move"


def test_units_are_readings_times_what_each_costs(small: Day) -> None:
    folded = small.readings["folded"]
    late = 2_000 / 60 * (HOUR + 95)  # folded while the shards were behind
    expected = (folded - late) * 1.1 + late * 1.0
    assert small.totals["window_writes"] == pytest.approx(expected, rel=0.01)
    assert small.totals["reads"] == pytest.approx(folded)


def test_a_table_that_is_too_small_sets_the_pace() -> None:
    tables = {WARM_WRITES: 20.0, TABLE_WRITES: 20.0, TABLE_READS: 1e9}
    day = play(SMALL, PLENTY.with_raised(tables), COSTS, placement(SMALL))
    served = day.column("served")
    # 33.3 readings a second arrive; 20 units are 18.2 of them at 1.1, and 20 when behind.
    assert served.max() == pytest.approx(20.0)
    assert day.refusals.of[TABLE_WRITES].first_at <= 2 * SMALL.step_s
    assert day.readings["in_the_stream"] > 2_000 / 60 * HOUR
    assert (day.column("write_units") <= 20.0 * (1 + 0.11)).all()


def test_the_task_is_the_templates_largest_and_carries_what_the_worker_plans() -> None:
    size = SERVICE["Mappings"]["TaskSize"]["29"]
    assert (size["Cpu"], size["Memory"]) == (VCPU * 1024, MEMORY_MB)
    assert leases_a_task() == 29
    assert (rule_for(DAY).least, rule_for(DAY).most) == (35, 105)


def test_vcpus_decide_how_many_tasks_run_and_so_how_many_shards_are_read() -> None:
    refusals = Refusals()
    service = Service(DAY, Account(), refusals, rule_for(DAY))
    reads = service.step(0.0)
    assert (service.running, service.carried, reads.sum()) == (3, 87, 87)
    assert refusals.of[VCPUS].refused == 35 * 2 - 6


def test_a_lag_adds_tasks_once_in_two_minutes_and_moves_leases() -> None:
    service = Service(DAY, Account({VCPUS: 1_000}), Refusals(), rule_for(DAY))
    wanted = []
    for step in range(60):
        now = step * DAY.step_s
        service.step(now)
        service.observe(now, 20.0, 100.0)
        wanted.append(service.wanted)
    # The alarm looks at 60 s: twice as many; again after 120 s, then there are the most.
    assert (wanted[10], wanted[11], wanted[34], wanted[35]) == (35, 70, 70, 105)
    assert [tasks for _, tasks in service.changes] == [35, 70, 105]
    assert service.moved > 0


def test_an_alarm_that_waits_two_minutes_does_not_answer_to_one() -> None:
    service = Service(DAY, Account({VCPUS: 1_000}), Refusals(), rule_for(DAY), patience=2)
    for step in range(36):
        now = step * DAY.step_s
        service.step(now)
        service.observe(now, 20.0 if now < 60 or now >= 120 else 0.0, 100.0)
    assert service.wanted == 35


def test_what_workers_ask_beside_telemetry() -> None:
    found = overhead(DAY, tasks=35, orphans=0, checkpoints_a_second=16.0)
    assert found.lease_writes == pytest.approx(1_000 * 3 / 10 + 16)
    assert (found.status_items, found.probes_a_shard) == (35, 0.0)
    assert found.status_writes == pytest.approx(35 * math.ceil(found.status_bytes / 1024) / 5)
    assert 1_024 < found.status_bytes < 4_096
    one_dies = overhead(DAY, tasks=34, orphans=29, checkpoints_a_second=16.0)
    assert one_dies.probes_a_shard == 34  # 58 calls of 15 ms fit in a round of a second


def test_what_is_asked_for_follows_from_the_fleet() -> None:
    found = asks(DAY, COSTS)
    assert found[CONNECTIONS] == 1_200_000
    assert found[CONNECTS] == 2_000  # a million in ten minutes, and a fifth
    assert found[TABLE_WRITES] == 100_000  # 16,667 a second, and four times that
    assert found[VCPUS] == 260  # 105 tasks of 2, and a fifth


def test_a_small_fleet_asks_for_nothing() -> None:
    rungs, account = climb(SMALL, COSTS, placement(SMALL), lambda _: None)
    assert (rungs, account.raised) == ([], {})


def test_the_ladder_raises_what_refused_first() -> None:
    plan = replace(
        SMALL, devices=600_000, shards=30, day_s=3_600, outage=(1e9, 1e9), cut=(1e9, 1e9)
    )
    rungs, _ = climb(plan, COSTS, placement(plan), lambda _: None)
    assert rungs[0].quota == CONNECTS
    assert {CONNECTIONS, WARM_WRITES} <= {rung.quota for rung in rungs}
    assert rungs[0].had == 500
    starts = {rung.quota: rung.first_at for rung in rungs}
    assert starts[CONNECTS] == 0.0 < starts[CONNECTIONS]


def test_the_bill_is_of_what_was_sent(small: Day) -> None:
    found = price(small)
    rules = next(item for item in found.items if item.what == "rules triggered")
    assert rules.quantity == pytest.approx(small.totals["messages"])
    assert found.usd == pytest.approx(sum(item.usd for item in found.items))
    shards = next(item for item in found.items if item.what == "shards")
    assert shards.usd == pytest.approx(4 * 4 * 0.015)


def test_a_page_gets_the_tables_of_the_day(small: Day) -> None:
    text = "before\n<!-- hours -->\nstale\n<!-- end -->\nafter\n"
    found = report.rewritten(text, {"hours": hours(small)})
    assert found.startswith("before\n<!-- hours -->\n| hour |")
    assert "stale" not in found
    assert found.endswith("<!-- end -->\nafter\n")
    assert found.count("\n| 0") == 4
