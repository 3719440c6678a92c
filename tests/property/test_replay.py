"""Replay and live traffic in any order give the fold of the distinct readings.

Workers that crash, replays that die in the middle, repeat or overlap with a worker, tables that
lose replies or whole items: afterwards each window holds exactly the ids of the archive, and the
aggregates that a plain loop over the sent readings gives.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.exceptions import GaveUpError
from consumers.hot.optimistic import Outcome, Statement
from consumers.shard.processor import ShardProcessor
from ingest.message import Message, decode
from ingest.record import Envelope, decode_record
from ingest.tiers import Tier
from lake.replay import part as part_module
from lake.replay.part import Replay, Replayed, Target, live_spans
from lake.replay.rows import Selection, part_of
from tests.harness.replayed import DEVICES, HOUR_MS, Pipeline
from tests.harness.shard import NOW, TIERS, backoff
from tests.harness.stores import MemoryDynamo

EVERYTHING = Selection(NOW - HOUR_MS, NOW + HOUR_MS)


def replay(
    pipeline: Pipeline,
    selection: Selection = EVERYTHING,
    *,
    tiers: tuple[Tier, ...] = TIERS,
    table: str = "windows",
    store: Any = None,
    **more: Any,
) -> Replayed:
    options: dict[str, Any] = {"now_ms": lambda: NOW, "backoff": backoff, **more}
    target = Target(table, "devices" if table == "windows" else None, tiers)
    return Replay(pipeline.source(), store or pipeline.dynamo, target, **options).run(selection)


class DiesAt:
    """Tables that a replay loses after so many statements: its process is killed there."""

    def __init__(self, dynamo: MemoryDynamo, statements: int) -> None:
        self._dynamo = dynamo
        self._left = statements

    def execute(self, statements: list[Statement]) -> Any:
        allowed, self._left = statements[: self._left], self._left - len(statements)
        for statement in allowed:
            self._dynamo.apply(statement)
        if self._left <= 0:
            raise GaveUpError("killed")
        return [Outcome.UNKNOWN] * len(statements)  # applied; nobody was told

    def read(self, *arguments: Any) -> Any:
        return self._dynamo.read(*arguments)


def check(pipeline: Pipeline, tiers: tuple[Tier, ...] = TIERS, table: str = "windows") -> None:
    """Each window is the plain loop's; the archive agrees."""
    expected: dict[tuple[str, str], dict[tuple[str, int], tuple[int, float]]] = defaultdict(dict)
    for record in pipeline.shard.records:
        envelope = decode_record(record.data)
        message = decode(envelope.payload) if isinstance(envelope, Envelope) else None
        if not isinstance(message, Message) or not isinstance(envelope, Envelope):
            continue
        for index, reading in enumerate(message.readings):
            if reading.ts > NOW + 600_000:
                continue
            for tier in tiers:
                key = (envelope.device_id, f"{tier.name}#{reading.ts // tier.size_ms}")
                expected[key].setdefault(
                    (message.boot, message.seq + index), (reading.ts, reading.metrics["a"])
                )
    stored = pipeline.dynamo.tables.get(table, {})
    assert len(stored) == len(expected)
    for (device, name), item in stored.items():
        tier = next(tier for tier in tiers if name.startswith(f"{tier.name}#"))
        start = int(item["expires_at"]["N"]) * 1000 - tier.ttl_s * 1000 - tier.size_ms
        readings = expected[device, f"{tier.name}#{start // tier.size_ms}"]
        assert int(item["n"]["N"]) == len(readings)
        metric = item["metrics"]["M"]["a"]["M"]
        values = [value for _, value in readings.values()]
        assert math.isclose(float(metric["sum"]["N"]), math.fsum(values), abs_tol=1e-7)
        assert float(metric["max"]["N"]) == max(values)
        assert float(metric["last"]["N"]) == max(readings.values())[1]
    audit = pipeline.audit(tiers, table)
    assert audit.clean, audit.differences
    assert not audit.refused


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_replay_and_live_traffic_in_any_order_give_the_fold_of_distinct_readings(
    seed: int,
) -> None:
    pipeline = Pipeline(seed)
    chance = pipeline.random
    pipeline.dynamo.fault = lambda _: chance.choices(
        ["ok", "throttle", "lost_before", "lost_after"], [20, 1, 1, 1]
    )[0]
    worker: ShardProcessor | None = None
    at = 0
    for _ in range(12):
        step = chance.choice(["send", "work", "work", "work", "crash", "replay", "kill", "lose"])
        if step == "send":
            pipeline.send(10)
        elif step == "work":
            if worker is None:
                worker, at = pipeline.worker(), pipeline.shard.start()
            batch = pipeline.shard.records[at : at + chance.randint(1, 30)]
            pipeline.now += chance.choice([0.3, 2.0, 6.0])
            worker.process(batch)
            at += len(batch)
        elif step == "crash":
            worker = None
        elif step == "replay":
            replay(pipeline)
        elif step == "kill":
            with contextlib.suppress(GaveUpError):
                replay(pipeline, store=DiesAt(pipeline.dynamo, chance.randint(0, 20)))
        elif worker is None and pipeline.dynamo.tables.get("windows"):
            # The tables lose items while no worker has them in memory, as by a restored backup.
            for key in chance.sample(sorted(pipeline.windows), len(pipeline.windows) // 2):
                del pipeline.windows[key]
    pipeline.work()
    replay(pipeline)
    check(pipeline)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), parts=st.integers(1, 4))
def test_parts_of_the_devices_make_a_new_table_of_another_tier(seed: int, parts: int) -> None:
    pipeline = Pipeline(seed)
    pipeline.send()
    pipeline.work()
    five = (Tier("5m", 1.0, 86_400),)
    added = 0
    for part in range(parts):
        selection = EVERYTHING._replace(part=part, parts=parts)
        added += replay(pipeline, selection, tiers=five, table="new").added
    check(pipeline, five, "new")
    stored = pipeline.dynamo.tables["new"].values()
    assert added == sum(int(item["n"]["N"]) for item in stored)


def test_nothing_is_written_where_nothing_is_missing() -> None:
    pipeline = Pipeline(3)
    pipeline.send()
    pipeline.work()
    before = {table: dict(items) for table, items in pipeline.dynamo.tables.items()}
    done = replay(pipeline)
    assert (done.added, done.windows) == (0, 0)
    assert done.readings > 0
    assert pipeline.dynamo.tables == before


def test_a_replay_of_one_device_writes_windows_of_no_other() -> None:
    pipeline = Pipeline(4)
    pipeline.send()
    pipeline.work()
    pipeline.dynamo.tables.clear()
    replay(pipeline, EVERYTHING._replace(devices=frozenset({"dev-b"})))
    assert {device for device, _ in pipeline.windows} == {"dev-b"}
    assert {device for (device,) in pipeline.dynamo.tables["devices"]} == {"dev-b"}


def test_the_roster_of_a_replay_is_the_one_that_the_worker_wrote() -> None:
    pipeline = Pipeline(5)
    pipeline.send()
    pipeline.work()
    wanted = pipeline.dynamo.tables.pop("devices")
    pipeline.dynamo.tables.pop("windows")
    replay(pipeline)
    made = pipeline.dynamo.tables["devices"]
    assert {key: {**item, "ver": 0} for key, item in made.items()} == {
        key: {**item, "ver": 0} for key, item in wanted.items()
    }


def test_expired_windows_are_not_made_again() -> None:
    pipeline = Pipeline(6)
    pipeline.send()
    pipeline.work()
    wanted = {key for key in pipeline.windows if key[1].startswith("1m#")}
    pipeline.dynamo.tables.clear()
    replay(pipeline, now_ms=lambda: NOW + 4_500_000)  # the ten seconds' time to live is an hour
    assert set(pipeline.windows) == wanted


def test_a_replay_that_is_asked_to_stop_writes_what_it_has_folded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(part_module, "FOLD_READINGS", 10)
    pipeline = Pipeline(8)
    pipeline.send()
    pipeline.work()
    everything = len(pipeline.windows)
    pipeline.dynamo.tables.clear()
    asked: list[bool] = []
    done = replay(pipeline, rate=1000.0, sleep=lambda _: None, stopping=lambda: bool(asked),
                  progress=lambda _: asked.append(True))  # fmt: skip
    assert done.stopped
    assert 0 < len(pipeline.windows) < everything
    replay(pipeline)
    check(pipeline)


def test_a_rate_is_kept_by_waiting() -> None:
    pipeline = Pipeline(9)
    pipeline.send(3000)
    pipeline.work()
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    done = replay(pipeline, rate=2000.0, clock=lambda: now, sleep=sleep)
    assert done.readings / now == pytest.approx(2000.0)
    assert done.waited == pytest.approx(now)


def test_a_device_is_for_ever_in_the_same_part() -> None:
    assert [part_of(device, 4) for device in DEVICES] == [part_of(device, 4) for device in DEVICES]
    parts = [part_of(f"device-{number}", 4) for number in range(4000)]
    assert all(800 < parts.count(part) < 1200 for part in range(4))


def test_each_time_has_the_tiers_that_have_not_expired_in_it() -> None:
    minutes, hours = Tier("1m", 1, 3600), Tier("1h", 1, 86_400)
    now = 100 * HOUR_MS
    spans = [*live_spans(Selection(0, now), (minutes, hours), now)]
    assert spans == [
        (76 * HOUR_MS, 99 * HOUR_MS, (hours,)),
        (99 * HOUR_MS, now, (minutes, hours)),
    ]
    assert not [*live_spans(Selection(0, HOUR_MS), (minutes, hours), now)]
