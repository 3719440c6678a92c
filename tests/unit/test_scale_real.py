"""Real shards in virtual time: exact whatever the tables refuse, and as the model says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scale import measure
from benchmarks.scale.day import Costs, Units, play
from benchmarks.scale.fleet import Scenario, placement
from benchmarks.scale.quotas import TABLE_WRITES, WARM_WRITES, Account
from benchmarks.scale.real_shard import MIDNIGHT_MS, catching_up, messages, record, replay
from benchmarks.scale.virtual_aws import Clock, Latencies, Share, VirtualCalls, VirtualTables
from consumers.hot.optimistic import Outcome, Statement
from consumers.record import open_record
from ingest.message import Message, decode_raw

HOUR = 3_600.0
COSTS = Costs(Units(1.11, 0.1, 1.02), Units(1.02, 0.01, 1.02), 60e-6, 5_000.0, 350.0)
PLAN = Scenario(
    devices=300, shards=3, day_s=2 * 3_600, outage=(1_800.0, 2_700.0), cut=(4_500.0, 5_100.0)
)
INSERT = Statement(
    'INSERT INTO "windows" VALUE …',
    [{"S": "dev"}, {"S": "1m#x"}, {"N": "1"}, {"M": {}}, {"N": "2"}, {"N": "0"}, {"N": "0"},
     {"M": {}}, {"N": "0"}, {"N": "0"}],
)  # fmt: skip


def update(old: int, n: int) -> Statement:
    state = [{"M": {}}, {"N": str(n)}, {"N": "0"}, {"N": "0"}, {"M": {}}, {"N": "0"}, {"N": "0"}]
    return Statement(
        'UPDATE "windows" SET …',
        [{"N": str(old + 1)}, *state, {"S": "dev"}, {"S": "1m#x"}, {"N": str(old)}],
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
    clock.now = 10.0
    found = store.execute([INSERT, update(1, 3), update(2, 4)])
    assert found == [Outcome.WRITTEN, Outcome.WRITTEN, Outcome.THROTTLED]
    clock.now = 10.5
    assert store.execute([update(2, 4)]) == [Outcome.WRITTEN]
    assert (store.refused, store.durable) == (1, 4)


def test_calls_in_flight_end_in_the_order_of_their_latencies() -> None:
    clock, latencies = Clock(), Latencies(1)
    calls = VirtualCalls(8, clock, latencies)
    for seconds in (0.3, 0.1, 0.2):
        latencies.last = seconds
        calls.submit(lambda seconds=seconds: seconds)
    assert ([calls.result() for _ in range(3)], clock.now) == ([0.1, 0.2, 0.3], 0.3)


def test_a_record_is_one_of_the_rules_with_a_reading_a_minute() -> None:
    day = play(PLAN, Account(), COSTS, placement(PLAN), watch=[0])
    sent = list(messages(day, [3, 14, 15]))
    assert sent == sorted(sent)
    assert sum(one.readings for one in sent) == 3 * 120, "all of two hours, the cut's included"
    late = max(sent, key=lambda one: one.readings)
    assert late.readings >= 9
    assert PLAN.cut[1] < late.at < PLAN.cut[1] + 60
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


@pytest.mark.parametrize("limited", [False, True])
def test_a_real_shard_is_exact_and_does_what_the_model_says(limited: bool) -> None:
    account = Account({WARM_WRITES: 6.5, TABLE_WRITES: 6.5} if limited else {})
    costs = replace(COSTS, behind=catching_up(100, 900)[0])
    shards = placement(PLAN)
    day = play(PLAN, account, costs, shards, watch=[1])
    assert (day.column("granted").min() < 1) == limited
    real = replay(day, 1, np.flatnonzero(shards == 1).tolist())
    assert real.exact
    assert real.processes == 2, "one before the outage and one after"
    assert (real.refused > 0) == limited
    found = measure.agreement(day, real)
    assert found.durable[0] == pytest.approx(found.durable[1], rel=0.05)
    assert found.writes[0] == pytest.approx(found.writes[1], rel=0.1)
    assert max(real.lag_s) == pytest.approx(found.lag_s[0], rel=0.15)
