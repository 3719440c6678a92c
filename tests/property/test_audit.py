"""An audit finds nothing where nothing is wrong, and every difference where something is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.id_ranges import parse
from lake.audit.differences import Difference
from tests.harness.replayed import Pipeline

Damage = Callable[[dict[str, Any]], str]
"""Damages an item in place; the kind of difference that an audit must name."""


def a_sum_is_wrong(item: dict[str, Any]) -> str:
    item["metrics"]["M"]["a"]["M"]["sum"] = {"N": "1e6"}
    return "wrong"


def a_last_value_is_wrong(item: dict[str, Any]) -> str:
    item["metrics"]["M"]["a"]["M"]["last"] = {"N": "77.5"}
    return "wrong"


def a_count_is_wrong(item: dict[str, Any]) -> str:
    item["n"] = {"N": str(int(item["n"]["N"]) + 1)}
    return "wrong"


def a_metric_is_gone(item: dict[str, Any]) -> str:
    item["metrics"]["M"] = {}
    return "wrong"


def the_item_has_no_ids(item: dict[str, Any]) -> str:
    del item["ids"]
    return "wrong"


def an_id_is_lost(item: dict[str, Any]) -> str:
    ranges = parse(item["ids"]["M"]["boot-one"]["S"])
    first, last = ranges.pop(0)
    if first < last:
        ranges.insert(0, (first + 1, last))
    text = ",".join(f"{a}-{b}" if a < b else str(a) for a, b in ranges)
    item["ids"]["M"] = {"boot-one": {"S": text}} if text else {}
    return "missing"


def an_id_was_never_sent(item: dict[str, Any]) -> str:
    item["ids"]["M"]["boot-two"] = {"S": "5"}
    return "extra"


DAMAGES: tuple[Damage, ...] = (
    a_sum_is_wrong,
    a_last_value_is_wrong,
    a_count_is_wrong,
    a_metric_is_gone,
    the_item_has_no_ids,
    an_id_is_lost,
    an_id_was_never_sent,
)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_a_worker_left_is_clean(seed: int) -> None:
    pipeline = Pipeline(seed)
    pipeline.send()
    pipeline.work()
    audit = pipeline.audit()
    assert audit.clean
    assert not audit.changing
    assert audit.windows == len(pipeline.windows)
    assert not audit.refused


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_each_difference_is_found_where_it_is_and_nowhere_else(damage: Damage, seed: int) -> None:
    pipeline = Pipeline(seed)
    pipeline.send()
    pipeline.work()
    key = pipeline.random.choice(sorted(pipeline.windows))
    item = pipeline.windows[key] = copy.deepcopy(pipeline.windows[key])
    kind = damage(item)
    audit = pipeline.audit()
    assert [(one.device, one.window, one.kind) for one in audit.differences] == [(*key, kind)]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_window_that_is_gone_and_one_too_many_are_found(seed: int) -> None:
    pipeline = Pipeline(seed)
    pipeline.send()
    pipeline.work()
    device, name = pipeline.random.choice(sorted(pipeline.windows))
    gone = (device, name)
    item = pipeline.windows.pop(gone)
    pipeline.windows["dev-a", "1m#2026-11-23T08:59:00Z"] = {
        **item,
        "expires_at": {"N": str(1_795_420_800 + 3600 + 86_400)},
    }
    found = {(one.device, one.window): one for one in pipeline.audit().differences}
    assert found.keys() == {gone, ("dev-a", "1m#2026-11-23T08:59:00Z")}
    assert found[gone].kind == "missing"
    assert found[gone].missing == int(item["n"]["N"])
    assert found["dev-a", "1m#2026-11-23T08:59:00Z"].kind == "extra"


def test_what_is_on_its_way_is_looked_at_again_and_is_no_difference() -> None:
    pipeline = Pipeline(7)
    pipeline.send()
    worker = pipeline.worker()
    worker.process(pipeline.shard.records)  # folded and archived in part, written in part
    looked: list[float] = []

    def meanwhile(seconds: float) -> None:
        looked.append(seconds)
        worker.shut_down()

    audit = pipeline.audit(sleep=meanwhile, now_ms=lambda: 1_795_420_800_000)
    assert looked
    assert audit.clean
    assert not audit.changing


def test_a_difference_that_stays_is_proven_at_the_second_look() -> None:
    pipeline = Pipeline(8)
    pipeline.send()
    pipeline.work()
    key = sorted(pipeline.windows)[0]
    del pipeline.windows[key]
    looks: list[float] = []
    audit = pipeline.audit(sleep=looks.append, now_ms=lambda: 1_795_420_800_000)
    assert looks == [30.0]
    assert [(one.device, one.window) for one in audit.differences] == [key]


def test_a_window_that_changes_at_each_look_is_reported_apart() -> None:
    pipeline = Pipeline(9)
    pipeline.send()
    pipeline.work()
    key = sorted(pipeline.windows)[0]
    pipeline.windows[key] = copy.deepcopy(pipeline.windows[key])
    an_id_is_lost(pipeline.windows[key])

    def change(_: float) -> None:
        item = pipeline.windows[key]
        pipeline.windows[key] = {**item, "ver": {"N": str(int(item["ver"]["N"]) + 1)}}

    audit = pipeline.audit(sleep=change, now_ms=lambda: 1_795_420_800_000)
    assert audit.clean
    assert [(one.device, one.window) for one in audit.changing] == [key]


def test_expired_windows_are_not_compared() -> None:
    pipeline = Pipeline(10)
    pipeline.send()
    pipeline.work()
    tens = sum(name.startswith("10s#") for _, name in pipeline.windows)
    later = 1_795_420_800_000 + 4_500_000
    for key in [key for key in pipeline.windows if key[1].startswith("10s#")][::2]:
        del pipeline.windows[key]
    audit = pipeline.audit(now_ms=lambda: later)
    assert audit.clean
    assert audit.expired == tens


def test_a_segment_is_not_fetched_for_an_hour_that_it_has_no_readings_of() -> None:
    pipeline = Pipeline(11)
    pipeline.send(ahead=0.0)
    pipeline.work()
    pipeline.audit()  # three hours, the last of which has no reading
    assert sorted(pipeline.segments.opened) == sorted([*pipeline.s3.objects] * 2)


@pytest.mark.parametrize(("kind", "command"), [("missing", "replay"), ("wrong", "rebuild")])
def test_a_difference_names_the_command_that_mends_it(kind: str, command: str) -> None:
    found = Difference("d", "1m#x", 1_795_420_800_000, 1_795_420_860_000, kind, 1, 0, (), 1, 0)
    assert found.mending() == (
        f"penstock {command} --from 2026-11-23T08:00:00Z --to 2026-11-23T08:01:00Z --device d"
    )
