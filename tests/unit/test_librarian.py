"""The librarian: every committed segment is registered once, through kills, rivals and losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.archive.segments import Segment
from lake.catalog.config import RECORDS
from lake.catalog.lock import HeldError, held
from lake.catalog.positions import Reached, reached_in, summary_of
from lake.librarian.plan import batches, in_order
from tests.harness.lake import BUCKET, MemoryBucket
from tests.harness.lake_tables import KilledError, World, killed_at, world


@pytest.fixture
def lake(tmp_path: Path) -> World:
    made = world(tmp_path, seed=1)
    made.grow(0, segments=2)
    return made


def assert_exact(lake: World) -> None:
    assert lake.records() == lake.rows_of(lake.archived)


def test_every_segment_is_registered_once_and_unchanged(lake: World) -> None:
    assert lake.sync(0).segments == 4
    assert_exact(lake)
    files = lake.table(RECORDS).inspect.data_files()["file_path"].to_pylist()
    assert sorted(files) == sorted(f"{lake.bucket.config.root}/{key}" for key in lake.archived)
    assert lake.sync(0) == (0, 0)


def test_a_later_run_registers_what_is_new_and_lists_no_older_hours(lake: World) -> None:
    lake.sync(0)
    lake.grow(30)
    lake.sync(30)
    lake.bucket.listed.clear()
    lake.grow(31)
    assert lake.sync(31).segments == 2
    assert_exact(lake)
    assert all("hour=14" in key or "hour=15" in key for key in lake.bucket.listed)


@pytest.mark.parametrize("step", ["loaded", "listed", "committed"])
def test_a_librarian_that_was_killed_at_any_step_is_followed_by_one_that_ends_its_work(
    lake: World, step: str
) -> None:
    lake.sync(0)
    lake.grow(1)
    with pytest.raises(KilledError):
        lake.sync(1, killed_at(step))
    lake.grow(2)
    lake.sync(2)
    assert_exact(lake)


def test_two_librarians_at_once_register_each_segment_once(lake: World) -> None:
    """The second one works while the first is between its listing and its commit."""
    rival: list[int] = []

    def at(step: str) -> None:
        if step == "listed" and not rival:
            rival.append(lake.sync(0).segments)

    assert (lake.sync(0, at).segments, rival) == (0, [4])
    assert_exact(lake)


def test_a_lost_catalog_is_made_again_from_the_listing(lake: World) -> None:
    lake.sync(0)
    Path(lake.bucket.config.uri).unlink()
    assert lake.sync(1).segments == 4
    assert_exact(lake)


def test_one_writer_has_the_lease_and_a_killed_one_loses_it() -> None:
    s3: Any = MemoryBucket()
    now = [100.0]

    def hold() -> Any:
        return held(s3, BUCKET, "lake", ttl_s=60, clock=lambda: now[0])

    with hold(), pytest.raises(HeldError, match="ends in 60 s"):
        hold().__enter__()
    killed = hold()
    killed.__enter__()
    with pytest.raises(HeldError):
        hold().__enter__()
    now[0] += 61
    with hold():
        killed.__exit__(None, None, None)  # it was only slow: the lease is another's by now
        with pytest.raises(HeldError):
            hold().__enter__()
    with hold():
        pass


def segment(shard: str, number: int, hour: int, size: int = 1) -> Segment:
    from consumers.kcl.position import position

    return Segment(f"telemetry/v1/x/{shard}-{number}.0.parquet", size, shard,
                   position(str(number), 0), hour)  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 200), st.integers(0, 5)),
             unique_by=lambda one: one[:2]),
    st.integers(1, 4), st.integers(1, 9),
)  # fmt: skip
def test_after_each_commit_the_positions_say_what_is_registered(
    given_segments: list[tuple[str, int, int]], most: int, most_bytes: int
) -> None:
    segments = [segment(*one) for one in given_segments]
    reached, registered = Reached(), list[Segment]()
    for batch in batches(segments, reached, 7, most, most_bytes):
        registered += batch.segments
        assert reached_in(summary_of(batch.reached)) == batch.reached
        assert {one for one in segments if batch.reached.has(one)} == set(registered)
        complete = len(registered) == len(segments)
        assert batch.reached.from_hour == (7 if complete else None)
    assert sorted(registered) == sorted(segments)
    assert list(batches(segments, Reached().after(segments), 7, most, most_bytes)) == []


def test_segments_are_in_the_order_of_their_shard_even_when_an_hour_goes_back() -> None:
    back = [segment("a", 1, 5), segment("a", 2, 4), segment("b", 9, 4)]
    assert [one.first.sequence for one in in_order(back)] == ["9", "1", "2"]
