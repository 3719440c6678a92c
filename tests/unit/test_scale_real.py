"""Real shards in virtual time: exact whatever the tables refuse, and as the model says."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.scale import measure, report
from benchmarks.scale.day import Costs, Units
from benchmarks.scale.fleet import Scenario, placement
from benchmarks.scale.quotas import TABLE_WRITES, WARM_WRITES, Account
from benchmarks.scale.real.costs import catching_up, steady
from benchmarks.scale.real.messages import MIDNIGHT_MS, messages, record
from benchmarks.scale.real.shard import replay
from benchmarks.scale.real.virtual_aws import Clock, Latencies, Share, VirtualCalls, VirtualTables
from benchmarks.scale.world import play
from consumers.hot.items import AttributeValue
from consumers.hot.optimistic import Outcome, Statement
from consumers.record import open_record
from ingest.message import Message, decode_raw

HOUR = 3_600.0
COSTS = Costs(Units(1.11, 0.1, 1.02), Units(1.02, 0.01, 1.02), 16e-6, 65e-6, 5_000.0, 350.0)
PLAN = Scenario(
    devices=150, shards=3, day_s=5_400, outage=(1_200.0, 1_800.0), cut=(3_600.0, 4_200.0)
)
ZERO: AttributeValue = {"N": "0"}
EMPTY: AttributeValue = {"M": {}}


def values(n: int) -> list[AttributeValue]:
    return [EMPTY, {"N": str(n)}, ZERO, ZERO, EMPTY, ZERO, ZERO]


KEY: list[AttributeValue] = [{"S": "dev"}, {"S": "1m#x"}]
INSERT = Statement('INSERT INTO "windows" VALUE …', [*KEY, {"N": "1"}, *values(2)])


def update(old: int, n: int) -> Statement:
    return Statement(
        'UPDATE "windows" SET …', [{"N": str(old + 1)}, *values(n), *KEY, {"N": str(old)}]
    )


def tables(rate: float = float("inf")) -> VirtualTables:
    return VirtualTables(Clock(), Latencies(1), lambda _: Share(rate, rate), devices=10)


def test_a_write_is_taken_only_on_the_version_that_is_stored() -> None:
    store = tables()
    assert store.execute([INSERT]) == [Outcome.WRITTEN]
    assert store.execute([INSERT]) == [Outcome.CONFLICT]
    assert store.execute([update(1, 5)]) == [Outcome.WRITTEN]
    assert store.execute([update(1, 9)]) == [Outcome.CONFLICT]
    assert store.durable == 5
    found, unanswered = store.read("windows", ("device", "window"), [("dev", "1m#x"), ("no", "x")])
    assert unanswered == []
    assert (found["dev", "1m#x"]["ver"], found["dev", "1m#x"]["n"]) == ({"N": "2"}, {"N": "5"})


def test_tables_take_the_shards_share_and_refuse_the_rest() -> None:
    clock = Clock()
    store = VirtualTables(clock, Latencies(1), lambda _: Share(2.0, 2.0), devices=10)
    clock.now = 1.0
    found = store.execute([INSERT, update(1, 3), update(2, 4)])
    assert found == [Outcome.WRITTEN, Outcome.WRITTEN, Outcome.THROTTLED]
    clock.now = 1.5
    assert store.execute([update(2, 4)]) == [Outcome.WRITTEN]
    assert (store.refused, store.durable) == (1, 4)


def test_calls_in_flight_end_in_the_order_of_their_latencies() -> None:
    clock, latencies = Clock(), Latencies(1)
    calls = VirtualCalls(8, clock, latencies)
    for seconds in (0.3, 0.1, 0.2):
        latencies.last = seconds
        calls.submit(partial(float, seconds))
    assert ([calls.result() for _ in range(3)], clock.now) == ([0.1, 0.2, 0.3], 0.3)


def test_a_record_is_one_of_the_rules_with_a_reading_a_minute() -> None:
    day = play(PLAN, Account(), COSTS, placement(PLAN), watch=[0])
    sent = list(messages(day, [3, 14, 15]))
    assert sent == sorted(sent)
    assert sum(one.readings for one in sent) == 3 * 90, "all of them, the cut's included"
    late = max(sent, key=lambda one: one.readings)
    assert late.readings >= 9
    assert PLAN.cut[1] < late.at < PLAN.cut[1] + 300
    message = decode_raw(open_record(record(late, 7)).payload)
    assert isinstance(message, Message)
    steps = np.diff([reading.ts for reading in message.readings])
    assert (steps == 60_000).all()
    assert message.seq == late.seq
    assert message.readings[-1].ts == MIDNIGHT_MS + round(1000 * late.taken)


def test_catching_up_costs_a_write_a_minute_and_little_more() -> None:
    units, rate = catching_up(100, 1_800)
    assert 1.0 <= units.windows < 1.1
    assert units.devices < 0.1
    assert rate > 500


def test_a_real_shard_is_exact_and_does_what_the_model_says() -> None:
    shards = placement(PLAN)
    costs = replace(COSTS, behind=catching_up(50, 600)[0], live=steady(50, 900))
    day = play(PLAN, Account(), costs, shards, watch=[1])
    real = replay(day, 1, members(shards))
    found = measure.agreement(day, real)
    assert real.exact
    assert real.processes >= 2, "one before the outage and one after"
    assert real.again > 0, "a new process begins at the checkpoint"
    assert real.refused == 0
    assert found.durable[0] == pytest.approx(found.durable[1], rel=0.001)
    assert found.writes[0] == pytest.approx(found.writes[1], rel=0.1)
    assert found.lag_s[0] == pytest.approx(found.lag_s[1], rel=0.02)
    assert found.reads[1] > found.reads[0], "what is read again is looked up again"


def test_a_real_shard_whose_tables_are_too_small_is_exact_and_as_fast_as_they_let_it() -> None:
    plan = replace(PLAN, day_s=1_200, outage=(240.0, 600.0), cut=(1e9, 1e9))
    shards = placement(plan)
    costs = replace(COSTS, behind=catching_up(50, 300)[0])
    account = Account({WARM_WRITES: 4.0, TABLE_WRITES: 4.0})
    day = play(plan, account, costs, shards, watch=[1])
    assert day.column("granted").min() < 1
    real = replay(day, 1, members(shards), until=1_000.0)
    assert real.exact
    assert real.refused > 0
    found = measure.agreement(day, real)
    assert found.hours == pytest.approx(1_000 / 3_600)
    assert found.writes[0] == pytest.approx(found.writes[1], rel=0.15)


def members(shards: npt.NDArray[np.int64]) -> list[int]:
    return [int(device) for device in np.flatnonzero(shards == 1)]


def test_a_small_run_has_every_table_and_draws_its_plots(tmp_path: Path) -> None:
    plan = replace(PLAN, day_s=3_600, outage=(600.0, 900.0), cut=(1_800.0, 1_860.0))
    found = measure.as_result(measure.whole(plan, 120.0, lambda _: None))
    assert json.loads(json.dumps(found)) is not None, "it goes into the results"
    assert found["checks"][0]["what"] == "real shards: readings lost or counted twice"
    assert found["checks"][0]["met"]
    for make in report.TABLES.values():
        head, rows = make(found)
        assert rows
        assert all(len(row) == len(head) for row in rows)
    report.draw(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"scale.png", "scale-model.png"}
