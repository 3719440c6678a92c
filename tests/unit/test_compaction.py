"""The compactor: each accepted reading once, sorted, through kills, rivals and losses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.catalog.config import READINGS, open_catalog
from lake.catalog.index import Compacted, CompactedFile, read_compacted
from lake.catalog.pointer import metadata_location
from lake.compaction.plan import MOST_FILES, days_to_merge
from lake.sql.session import Session
from tests.harness.lake import BUCKET
from tests.harness.lake_tables import KilledError, World, killed_at, world
from tests.harness.shard import NOW

STEPS = ("loaded", "listed", "sorted", "written", "uploaded", "indexed", "prepared", "committed")
DAY = NOW // 86_400_000


@pytest.fixture
def lake(tmp_path: Path) -> World:
    made = world(tmp_path, seed=2)
    made.grow(0, segments=2)
    return made


def assert_exact(lake: World) -> None:
    assert Counter(lake.readings()) == Counter(lake.accepted(lake.archived))
    assert_sql_agrees(lake)


def newest(lake: World) -> Compacted | None:
    config, s3 = lake.bucket.config, lake.bucket
    location = metadata_location(config, READINGS, lambda _: None)
    return location and read_compacted(s3, BUCKET, config, location)  # type: ignore[return-value,arg-type]


def assert_sql_agrees(lake: World) -> None:
    """With the compacted files and without them, SQL gives the distinct accepted identities."""
    query = "SELECT device_id, boot, seq, epoch_ms(ts) // 86400000 FROM readings"
    for compacted in (lambda: newest(lake), lambda: None):
        with Session(lake.bucket, BUCKET, compacted=compacted) as session:  # type: ignore[arg-type]
            rows = session.query(query).fetchall()
        assert Counter(rows) == Counter(lake.accepted(lake.archived))


def test_each_accepted_reading_is_there_once(lake: World) -> None:
    done = lake.compact(0)
    assert (done.segments, done.commits) == (4, 1)
    assert done.readings == len(lake.accepted(lake.archived))
    assert_exact(lake)
    assert lake.compact(0).commits == 0


def test_a_later_run_adds_what_is_new_and_repeats_nothing(lake: World) -> None:
    for hour in range(4):
        lake.compact(hour)
        assert_exact(lake)
        lake.grow(hour + 1)
        assert_sql_agrees(lake)  # the archive is ahead of the table


def test_files_are_sorted_by_device_and_time_and_hold_one_day(lake: World) -> None:
    lake.compact(0)
    for one in newest(lake).files:  # type: ignore[union-attr]
        rows = pq.read_table(lake.bucket.objects._folder / one.key)  # type: ignore[attr-defined]
        columns = [rows["device_id"].to_pylist(), rows["ts"].cast("timestamp[ms]").cast("int64")]
        keys = [*zip(columns[0], columns[1].to_pylist(), strict=True)]
        assert keys == sorted(keys)
        assert {ts // 86_400_000 for _, ts in keys} == {one.day}
        assert (one.first_device, one.last_device) == (keys[0][0], keys[-1][0])
        assert (one.first_ts, one.last_ts) == (min(t for _, t in keys), max(t for _, t in keys))
        assert one.rows == len(keys)


def test_a_chunk_is_a_commit_and_bounds_what_a_run_takes_at_once(lake: World) -> None:
    lake.grow(1, segments=3)
    done = lake.compact(1, chunk_bytes=1)
    assert done.commits - done.merged_days == len(lake.archived)
    assert_exact(lake)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("times", [1, 2])
def test_a_compactor_that_was_killed_at_any_step_is_followed_by_one_that_ends_its_work(
    lake: World, step: str, times: int
) -> None:
    lake.compact(0)
    lake.grow(1, segments=2)
    killed = True
    try:
        lake.compact(1, killed_at(step, times), chunk_bytes=1)
        killed = False
    except KilledError:
        pass
    assert killed or (step in ("loaded", "listed") and times == 2)
    assert_sql_agrees(lake)
    lake.grow(2)
    lake.compact(2)
    assert_exact(lake)


def test_two_compactors_at_once_add_each_reading_once(lake: World) -> None:
    rival: list[int] = []

    def at(step: str) -> None:
        if step == "prepared" and not rival:
            rival.append(lake.compact(0).readings)

    done = lake.compact(0, at)
    assert (done.readings, rival) == (0, [len(lake.accepted(lake.archived))])
    assert_exact(lake)


def test_days_that_are_over_are_merged_and_no_other(lake: World) -> None:
    for hour in range(5):
        lake.compact(hour)
        lake.grow(hour + 1)
    before = newest(lake)
    assert before is not None
    days = Counter(one.day for one in before.files)
    assert days[DAY] > 1  # today has a file for each run
    assert days[DAY - 1] == 1  # yesterday is over: each run's late readings were merged into it
    untouched = {one.key for one in before.files if one.day == DAY}
    lake.compact(6)
    after = newest(lake)
    assert after is not None
    assert untouched <= {one.key for one in after.files}
    assert_exact(lake)
    lake.compact(24 + 2)
    assert Counter(one.day for one in newest(lake).files) == {DAY: 1, DAY - 1: 1}  # type: ignore[union-attr]
    assert_exact(lake)


@pytest.mark.parametrize("step", ["merged", "uploaded", "indexed", "prepared", "committed"])
def test_a_merge_that_was_killed_at_any_step_changes_no_reading(lake: World, step: str) -> None:
    lake.compact(0)
    lake.grow(1)
    lake.compact(1)
    with pytest.raises(KilledError):
        lake.compact(24 + 2, killed_at(step))
    assert_exact(lake)
    lake.compact(24 + 2)
    assert_exact(lake)


def test_a_lost_catalog_loses_no_reading(lake: World) -> None:
    lake.compact(0)
    Path(lake.bucket.config.uri).unlink()
    assert_sql_agrees(lake)
    lake.compact(1)
    assert_exact(lake)


def test_duckdb_alone_finds_the_same_readings_in_the_files(lake: World) -> None:
    lake.compact(0)
    root = lake.bucket.objects._folder  # type: ignore[attr-defined]
    files = [str(root / one.key) for one in newest(lake).files]  # type: ignore[union-attr]
    rows = duckdb.execute(
        "SELECT device_id, boot, seq, epoch_ms(ts) // 86400000 FROM read_parquet($1)", [files]
    ).fetchall()
    assert Counter(rows) == Counter(lake.accepted(lake.archived))


def test_at_each_snapshot_the_rows_are_the_distinct_accepted_readings_up_to_its_positions(
    lake: World,
) -> None:
    """Time travel, over appends and merges."""
    from lake.catalog.positions import reached_in

    for hour in (0, 1, 2, 26):
        lake.grow(hour)
        lake.compact(hour, chunk_bytes=3000)
    snapshots = lake.table(READINGS).snapshots()
    assert len(snapshots) > 5
    for snapshot in snapshots:
        reached = reached_in(snapshot.summary.additional_properties)
        expected = lake.accepted(lake.keys_up_to(reached))
        assert Counter(lake.readings(snapshot.snapshot_id)) == Counter(expected)


def file(day: int, number: int, size: int = 1) -> CompactedFile:
    return CompactedFile(f"{day}/{number}", size, 1, day, "a", "b", 0, 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300)), max_size=80))
@settings(max_examples=200)
def test_merging_ends_and_leaves_few_files(given_files: list[tuple[int, int]]) -> None:
    files = [file(day, i, size) for i, (day, size) in enumerate(given_files)]
    now = 3 * 86_400_000 + 3_600_000
    for day in days_to_merge(files, now, 100):
        total = sum(one.size for one in day.files)
        fewest = -(-total // 100)
        assert len(day.files) > fewest
        files = [one for one in files if one.day != day.day]
        files += [file(day.day, 1000 + i, total // fewest) for i in range(fewest)]
    assert days_to_merge(files, now, 100) == []
    by_day: Any = Counter(one.day for one in files)
    assert by_day[3] <= MOST_FILES + max(1, sum(s for d, s in given_files if d == 3) // 100 + 1)


def test_the_catalog_opens_where_its_folder_is_not_there_yet(tmp_path: Path) -> None:
    made = world(tmp_path / "new", seed=1)
    assert open_catalog(made.bucket.config).list_namespaces() == []
