"""The fold is a function of the set of readings."""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.hot.items import WindowCodec, load_window
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.runs import METRIC_BYTES, Run, Stretch, run_of_one, runs_of
from consumers.hot.windows import (
    MAX_WEIGHT,
    Window,
    has_room,
    window_start,
)
from ingest.id_ranges import BOOT_BYTES, RANGE_BYTES
from ingest.message import Reading
from ingest.tables.hot import window_name
from ingest.tiers import DEFAULT_TIERS, LOCAL_TIERS, Tier

FLOATS = st.floats(-1e9, 1e9, allow_nan=False).map(lambda value: round(value, 6))


class Sent(NamedTuple):
    """A reading with its identity."""

    boot: str
    seq: int
    ts: int
    metrics: dict[str, float]

    @property
    def run(self) -> Run:
        return run_of_one(*self)


READINGS = st.lists(
    st.builds(
        Sent,
        boot=st.sampled_from(["boot-one", "boot-two"]),
        seq=st.integers(0, 30),
        ts=st.integers(0, 20),
        metrics=st.dictionaries(st.sampled_from(["a", "b", "c"]), FLOATS, min_size=1),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda r: (r.boot, r.seq),
)


def folded(readings: list[Sent]) -> Window:
    window = Window("dev", "1m#x", 60_000)
    for reading in readings:
        window.fold(reading.run)
    return window


@given(READINGS, st.randoms(use_true_random=False))
def test_order_and_duplicates_do_not_matter(readings: list[Sent], chance: random.Random) -> None:
    one = folded(readings)
    again = readings + chance.choices(readings, k=5)
    chance.shuffle(again)
    other = folded(again)
    assert (one.n, one.first_ts, one.last_ts) == (other.n, other.first_ts, other.last_ts)
    assert one.ids.dump() == other.ids.dump()
    # of duplicates with the same id the first to come counts; here they are equal
    assert one.metrics.keys() == other.metrics.keys()
    for name, metric in one.metrics.items():
        twin = other.metrics[name]
        for field in ("n", "min", "max", "first", "last", "first_at", "last_at"):
            assert getattr(metric, field) == getattr(twin, field), field
        scale = max(abs(r.metrics.get(name, 0.0)) for r in readings) or 1.0
        assert math.isclose(metric.sum, twin.sum, rel_tol=1e-9, abs_tol=1e-9 * scale)


@given(READINGS)
def test_aggregates_are_those_of_the_definition(readings: list[Sent]) -> None:
    for name, metric in folded(readings).metrics.items():
        mine = [(r.ts, r.metrics[name]) for r in readings if name in r.metrics]
        values = [value for _, value in mine]
        mean = math.fsum(values) / len(values)
        spread = math.fsum((value - mean) ** 2 for value in values)
        scale = max(map(abs, values)) or 1.0
        assert metric.n == len(values)
        assert (metric.min, metric.max) == (min(values), max(values))
        assert metric.first == min(mine)[1]
        assert metric.last == max(mine)[1]
        assert math.isclose(metric.sum, math.fsum(values), rel_tol=1e-9, abs_tol=1e-9 * scale)
        assert math.isclose(metric.mean, mean, rel_tol=1e-9, abs_tol=1e-9 * scale)
        assert math.isclose(metric.m2, spread, rel_tol=1e-6, abs_tol=1e-9 * scale * scale)


SPAN = (0, 1000)
SHAPES = st.sampled_from([("a", "b"), ("b", "a"), ("a",), ("a", "b", "c")])


@st.composite
def stretches(draw: st.DrawFn) -> Stretch:
    """Consecutive readings of up to three shapes, some values bools, times in any order."""
    count = draw(st.integers(1, 12))
    times = draw(st.lists(st.integers(0, 40), min_size=count, max_size=count))
    if draw(st.booleans()):
        times.sort()
    shapes = draw(st.lists(SHAPES, min_size=1, max_size=2))
    values = st.one_of(FLOATS, st.booleans())
    rows = [{name: draw(values) for name in shapes[i % len(shapes)]} for i in range(count)]
    return Stretch("boot-one", draw(st.integers(0, 30)), times, rows)


def same(window: Window, naive: Window) -> None:
    """Equal, but for the rounding of sums."""
    assert (window.n, window.first_ts, window.last_ts) == (naive.n, naive.first_ts, naive.last_ts)
    assert window.ids.dump() == naive.ids.dump()
    assert window.metrics.keys() == naive.metrics.keys()
    for name, metric in window.metrics.items():
        twin = naive.metrics[name]
        for field in ("n", "min", "max", "first", "last", "first_at", "last_at"):
            value = getattr(metric, field)
            assert value == getattr(twin, field), field
            assert type(value) is type(getattr(twin, field)), field
        scale = max(abs(twin.min), abs(twin.max)) * twin.n
        for field, slack in (("sum", scale), ("mean", scale), ("m2", scale * scale)):
            mine, theirs = getattr(metric, field), getattr(twin, field)
            assert math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-12 * slack), field


@given(st.lists(stretches(), min_size=1, max_size=6))
def test_folding_runs_is_folding_their_readings_one_by_one(given: list[Stretch]) -> None:
    """Overlapping stretches: whichever reading of an id came first counts, as one by one."""
    window, naive = Window("dev", "1m#x", 60_000), Window("dev", "1m#x", 60_000)
    for stretch in given:
        fresh = [part for run in runs_of(stretch, lambda _: SPAN) for part in window.fold(run)]
        new = []
        for place, (ts, row) in enumerate(zip(stretch.ts, stretch.rows, strict=True)):
            if naive.fold(run_of_one(stretch.boot, stretch.seq + place, ts, row)):
                new.append(stretch.seq + place)
        assert [seq for part in fresh for seq in range(part.seq, part.end)] == new
    same(window, naive)


@given(stretches(), st.integers(1, 15))
def test_a_stretch_is_cut_where_a_window_ends_and_nothing_is_lost(
    stretch: Stretch, size: int
) -> None:
    def span(ts: int) -> tuple[int, int]:
        return ts - ts % size, ts - ts % size + size

    runs = runs_of(stretch, span)
    assert [ts for run in runs for ts in run.ts] == stretch.ts
    assert [seq for run in runs for seq in range(run.seq, run.end)] == list(
        range(stretch.seq, stretch.seq + len(stretch.ts))
    )
    for run in runs:
        assert span(run.oldest) == span(run.newest)
        ids = [(ts, run.boot, run.seq + i) for i, ts in enumerate(run.ts)]
        assert (run.oldest, run.latest()) == (min(run.ts), max(ids))


def test_readings_with_too_many_names_between_them_are_runs_of_their_own() -> None:
    rows = [{f"m{i}_{j}": 1.0 for j in range(40)} for i in range(3)]
    assert [
        len(run) for run in runs_of(Stretch("boot-one", 0, [1, 2, 3], rows), lambda _: SPAN)
    ] == [
        1,
        1,
        1,
    ]


@given(READINGS)
def test_an_item_reads_back_as_the_window_it_was(readings: list[Sent]) -> None:
    window = folded(readings)
    codec = WindowCodec("t", LOCAL_TIERS[1], lambda: 5, lambda _: None)
    stored = dict(zip(codec.columns, codec.values(window), strict=True)) | {"ver": {"N": "7"}}
    again = Window("dev", "1m#x", 60_000)
    load_window(again, stored)
    assert again.ver == 7
    assert codec.values(again) == codec.values(window)


@given(st.integers(0, 2**41), st.sampled_from([*LOCAL_TIERS, *DEFAULT_TIERS, Tier("5m", 1, 60)]))
def test_every_event_time_is_in_exactly_one_window_of_a_tier(ts: int, tier: Tier) -> None:
    start = window_start(tier, ts)
    assert start <= ts < start + tier.size_ms
    assert start % tier.size_ms == 0


def test_window_names_sort_by_time() -> None:
    tier = Tier("1m", 1, 60)
    assert window_name(tier.name, 1_795_419_900_000) == "1m#2026-11-23T07:45:00Z"


@pytest.mark.parametrize("name", ["7m", "0s", "1w", "90s", "25h", "m", ""])
def test_a_tier_is_a_divisor_of_a_day(name: str) -> None:
    if name == "90s":
        assert Tier(name, 1, 60).size_ms == 90_000
    else:
        with pytest.raises(ValueError, match="divisor of a day"):
            Tier(name, 1, 60)


NOW = 1_795_420_800_000


def judged(ts: int, value: float = 1.0) -> str:
    lateness = LatenessPolicy(LOCAL_TIERS, clock_ahead_s=600)
    return lateness.disposition(Reading(ts, {"a": value}), NOW)


def test_lateness_is_judged_from_the_record_alone() -> None:
    oldest = LOCAL_TIERS[-1].oldest_ms
    assert judged(NOW + 600_000) == "ok"
    assert judged(NOW + 600_001) == "clock_ahead"
    assert judged(NOW - oldest) == "ok"
    assert judged(NOW - oldest - 1) == "late"
    assert judged(-5) == "late"
    assert judged(NOW, 1e60) == "ok"
    assert judged(NOW, -1.1e60) == "out_of_range"


def test_a_reading_too_old_for_a_tier_still_goes_into_the_coarser_ones() -> None:
    lateness = LatenessPolicy(LOCAL_TIERS, clock_ahead_s=600)
    assert list(lateness.tiers(0)) == [0, 1, 2]
    assert list(lateness.tiers(LOCAL_TIERS[0].oldest_ms + 1)) == [1, 2]
    assert list(lateness.tiers(LOCAL_TIERS[1].oldest_ms + 1)) == [2]


def test_a_full_window_is_closed_for_good_and_knows_what_it_holds() -> None:
    window = Window("dev", "1h#x", 0)
    seq = 0
    while window.weight() < MAX_WEIGHT:
        assert has_room(window, "boot-one", seq)
        window.fold(run_of_one("boot-one", seq, 0, {"a": 1.0}))
        seq += 2
    assert has_room(window, "boot-one", 2)  # a duplicate
    assert not has_room(window, "boot-one", 1)  # it would shrink
    assert not has_room(window, "boot-one", seq + 5)
    assert not has_room(window, "boot-two", 1)


def item_bytes(value: Any) -> int:
    """Bytes of an attribute value as DynamoDB counts them, of numbers the most it may count."""
    ((kind, held),) = value.items()
    if kind == "M":
        return 3 + sum(len(name) + 1 + item_bytes(part) for name, part in held.items())
    return len(held) if kind == "S" else min(21, (len(held) + 1) // 2 + 2)


def test_the_heaviest_windows_of_three_workers_make_an_item_that_dynamodb_takes() -> None:
    """The longest names and numbers; three writers at once, each of which fills it."""
    window = Window("d" * 128, "10s#2026-11-23T08:00:00Z", 0)
    for writer in range(3):
        seq, target = 2**53 - 200_000 * (writer + 1), (writer + 1) * MAX_WEIGHT
        while window.weight() < target:
            names = [f"m{'x' * 58}{number:05}" for number in range(seq % 64, seq % 64 + 3)]
            row = dict.fromkeys(names, -1.2345678901234567e-100)
            for number in (seq, seq + 1):
                window.fold(run_of_one(f"{'b' * 35}{writer}", number, 2**41, row))
            seq += 3
    codec = WindowCodec("t", DEFAULT_TIERS[0], lambda: 2**41, lambda _: None)
    item = dict(zip(codec.columns, codec.values(window), strict=True))
    size = sum(len(name) + item_bytes(value) for name, value in item.items())
    assert 0.8 * window.weight() < size < window.weight() + 1_000
    one_reading = 64 * METRIC_BYTES + RANGE_BYTES + BOOT_BYTES
    assert 3 * (MAX_WEIGHT + one_reading) + 1_000 < 400 * 1024
