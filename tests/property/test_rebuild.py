"""A rebuild makes damaged windows right beside live traffic, whenever it is killed and repeated."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.exceptions import GaveUpError
from ingest.id_ranges import parse
from lake.audit.audit import Range
from lake.rebuild.rebuild import Rebuild, Summary
from tests.harness.replayed import DEVICES, HOUR_MS, MemoryStored, Pipeline
from tests.harness.shard import NOW, TIERS, backoff
from tests.property.test_audit import (
    DAMAGES,
    an_id_is_lost,
    an_id_was_never_sent,
    the_item_has_no_ids,
)
from tests.property.test_replay import DiesAt, check, replay

EVERYTHING = Range(NOW - HOUR_MS, NOW + HOUR_MS, DEVICES, TIERS, only=False)


class Meanwhile:
    """Tables to which something else writes before each of these calls. No call may take away an id
    that was really sent."""

    def __init__(self, pipeline: Pipeline, act: Callable[[], None]) -> None:
        self._dynamo = pipeline.dynamo
        self._pipeline = pipeline
        self._act = act

    def execute(self, statements: Any) -> Any:
        self._act()
        before = sent_ids(self._pipeline)
        outcomes = self._dynamo.execute(statements)
        after = sent_ids(self._pipeline)
        assert all(ids <= after[key] for key, ids in before.items())
        return outcomes

    def read(self, *arguments: Any) -> Any:
        return self._dynamo.read(*arguments)


def sent_ids(pipeline: Pipeline) -> dict[tuple[str, ...], set[int]]:
    """What each window holds of the boot that devices have."""
    return {
        key: {
            number
            for first, last in parse(item["ids"]["M"]["boot-one"]["S"])
            for number in range(first, last + 1)
        }
        for key, item in pipeline.windows.items()
        if "boot-one" in item["ids"]["M"]
    }


def rebuild(
    pipeline: Pipeline,
    *,
    drop: bool = False,
    store: Any = None,
    settle: Callable[[], bool] = lambda: True,
    **more: Any,
) -> Summary:
    return Rebuild(
        pipeline.source(),
        MemoryStored(pipeline.dynamo),
        store or pipeline.dynamo,
        "windows",
        now_ms=lambda: NOW,
        settle=lambda _: settle(),
        drop=drop,
        backoff=backoff,
    ).run(EVERYTHING, **more)


def damage(pipeline: Pipeline) -> None:
    """Damage a third of the windows: gone, incomplete or wrong, and with ids that never were. All
    of them can still be read: a worker ends at an item that cannot."""
    kinds = [one for one in DAMAGES if one is not the_item_has_no_ids]
    for key in pipeline.random.sample(sorted(pipeline.windows), len(pipeline.windows) // 3):
        item = pipeline.windows[key] = copy.deepcopy(pipeline.windows[key])
        if pipeline.random.random() < 0.3:
            del pipeline.windows[key]
        elif item["ids"]["M"]:
            pipeline.random.choice(kinds)(item)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_rebuild_beside_live_traffic_makes_every_window_right(seed: int) -> None:
    pipeline = Pipeline(seed)
    chance = pipeline.random
    pipeline.send(60)
    pipeline.work()
    damage(pipeline)
    pipeline.dynamo.fault = lambda _: chance.choices(
        ["ok", "throttle", "lost_before", "lost_after"], [20, 1, 1, 1]
    )[0]
    pipeline.send(60)
    worker, at = pipeline.worker(), pipeline.shard.start()

    def work() -> None:
        nonlocal at, worker
        if chance.random() < 0.2 and len(pipeline.shard.records) < 300:
            pipeline.send(5)
        if chance.random() < 0.1:  # it crashes
            worker, at = pipeline.worker(), pipeline.shard.start()
        batch = pipeline.shard.records[at : at + chance.randint(1, 15)]
        pipeline.now += chance.choice([0.3, 2.0, 6.0])
        worker.process(batch)
        at += len(batch)

    for _ in range(chance.randint(0, 2)):
        with contextlib.suppress(GaveUpError):
            rebuild(pipeline, store=DiesAt(pipeline.dynamo, chance.randint(0, 20)))
        work()

    def settle() -> bool:
        nonlocal at
        worker.process(pipeline.shard.records[at:])
        at = len(pipeline.shard.records)  # more is sent while windows are written
        worker.commit()
        return True

    left, tries = 1, 0
    while left:
        tries += 1
        assert tries < 9
        left = rebuild(pipeline, drop=True, store=Meanwhile(pipeline, work), settle=settle).left
    pipeline.work()
    replay(pipeline)  # as the command does in the end
    expire_empty(pipeline)
    check(pipeline)


def expire_empty(pipeline: Pipeline) -> None:
    """DynamoDB deletes what has expired."""
    for key, item in [*pipeline.windows.items()]:
        if int(item["expires_at"]["N"]) * 1000 <= NOW:
            del pipeline.windows[key]


def test_what_is_right_is_not_written() -> None:
    pipeline = Pipeline(1)
    pipeline.send()
    pipeline.work()
    before = copy.deepcopy(pipeline.dynamo.tables)
    summary = rebuild(pipeline)
    assert (summary.windows, summary.written, summary.left) == (len(pipeline.windows), 0, 0)
    assert pipeline.dynamo.tables == before


@pytest.mark.parametrize("one", DAMAGES, ids=lambda one: one.__name__)
def test_only_the_damaged_window_is_written_under_the_next_version(
    one: Callable[[dict[str, Any]], str],
) -> None:
    pipeline = Pipeline(2)
    pipeline.send()
    pipeline.work()
    before = copy.deepcopy(pipeline.windows)
    key = sorted(pipeline.windows)[5]
    one(pipeline.windows[key])
    summary = rebuild(pipeline, drop=True)
    assert summary.written == 1
    version = int(before[key]["ver"]["N"]) + 1
    assert pipeline.windows[key]["ver"] == {"N": str(version)}
    check(pipeline)


def test_ids_that_the_archive_lacks_hold_a_window_back_until_they_may_be_dropped() -> None:
    pipeline = Pipeline(3)
    pipeline.send()
    pipeline.work()
    key = sorted(pipeline.windows)[0]
    an_id_was_never_sent(pipeline.windows[key])
    before = copy.deepcopy(pipeline.windows[key])
    assert rebuild(pipeline).left_windows == [" ".join(key)]
    assert pipeline.windows[key] == before
    assert rebuild(pipeline, drop=True, settle=lambda: False).left == 1  # nobody knows
    assert pipeline.windows[key] == before
    assert rebuild(pipeline, drop=True).left == 0
    check(pipeline)


def test_what_is_not_archived_yet_is_kept() -> None:
    pipeline = Pipeline(4)
    pipeline.send(8)
    worker = pipeline.worker()
    worker.process(pipeline.shard.records)
    pipeline.now += 100.0
    worker._fold()
    worker._hot.flush_all()  # in the hot tables, and in no segment
    held = {key: item["ids"] for key, item in pipeline.windows.items()}
    assert held
    summary = rebuild(pipeline)
    assert summary.left == summary.windows == len(held)
    assert {key: item["ids"] for key, item in pipeline.windows.items()} == held
    worker.shut_down()
    assert rebuild(pipeline).left == 0
    check(pipeline)


def test_a_window_without_any_archived_reading_becomes_empty_and_expires() -> None:
    pipeline = Pipeline(5)
    pipeline.send()
    pipeline.work()
    ghost = ("dev-a", "1m#2026-11-23T08:40:00Z")
    item = copy.deepcopy(next(iter(pipeline.windows.values())))
    item["expires_at"] = {"N": str(NOW // 1000 + 41 * 60 + 86_400)}
    pipeline.windows[ghost] = item
    rebuild(pipeline, drop=True)
    assert pipeline.windows[ghost]["n"] == {"N": "0"}
    assert pipeline.windows[ghost]["expires_at"] == {"N": str(NOW // 1000)}
    assert int(pipeline.windows[ghost]["ver"]["N"]) == int(item["ver"]["N"]) + 1
    expire_empty(pipeline)
    check(pipeline)


def test_an_interrupted_rebuild_goes_on_where_it_was() -> None:
    pipeline = Pipeline(6)
    pipeline.send()
    pipeline.work()
    pipeline.windows.clear()
    finished: list[int] = []
    rebuild(pipeline, done=finished.append)
    assert set(finished) == {NOW - HOUR_MS, NOW}
    pipeline.segments.opened.clear()
    rebuild(pipeline, skip=frozenset(finished))
    assert not pipeline.segments.opened


def test_damage_of_ids_is_seen_by_these_tests() -> None:
    pipeline = Pipeline(7)
    pipeline.send()
    pipeline.work()
    for spoil in (an_id_is_lost, the_item_has_no_ids):
        key = sorted(pipeline.windows)[0]
        spoil(pipeline.windows[key])
        with pytest.raises((AssertionError, KeyError)):
            check(pipeline)
