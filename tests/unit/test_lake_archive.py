"""The lake's way to read the archive: its segments by time and shard, their rows, its readings."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from consumers.archive.segment_key import HOUR_MS, object_key, parts_of
from consumers.exceptions import StoreError
from consumers.kcl.position import position
from lake.archive.distinct import distinct_readings
from lake.archive.rows import ROW_SCHEMA, read_segment, segment_batches
from lake.archive.segments import extent_of, list_segments
from tests.harness.lake import BUCKET, MemoryBucket, commit, message, record
from tests.harness.shard import NOW

OTHER = "shardId-000000000001"


def listed(bucket: MemoryBucket, **wanted: Any) -> list[str]:
    return [segment.key for segment in list_segments(bucket, BUCKET, **wanted)]  # type: ignore[arg-type]


def hours(count: int, page: int = 1000) -> tuple[MemoryBucket, list[str]]:
    """A segment an hour of two shards, and things that are no segments."""
    bucket, keys = MemoryBucket(page), []
    for hour in range(count):
        arrived = NOW + hour * HOUR_MS
        for shard in ("shardId-000000000000", OTHER):
            keys.append(commit(bucket, [message(100 + hour, arrived_at=arrived)], shard))
    bucket.put_object(Key="telemetry/v1/dt=2026-11-23/readme.txt", Body=b"")
    bucket.put_object(Key="lake/readings/a.parquet", Body=b"")
    return bucket, keys


def test_a_key_says_what_it_was_made_of() -> None:
    for shard in ("shardId-000000000003", "a-b-7"):
        for sequence, sub in (("0", 0), ("49671" + "0" * 51, 12)):
            key = object_key(shard, position(sequence, sub), 498_727)
            assert parts_of(key) == (shard, position(sequence, sub), 498_727)
    for key in (
        "telemetry/v1/x",
        "telemetry/v1/dt=2026-11-23/hour=08/s-1.parquet",
        "s-1.0.parquet",
    ):
        assert parts_of(key) is None


def test_every_segment_is_listed_once_in_the_order_of_hours() -> None:
    for page in (1, 3, 1000):
        bucket, keys = hours(30, page)
        assert listed(bucket) == keys


def test_a_range_of_time_lists_the_hours_that_overlap_it_and_no_others() -> None:
    bucket, keys = hours(30)
    assert listed(bucket, start_ms=NOW + 2 * HOUR_MS + 1, end_ms=NOW + 4 * HOUR_MS) == keys[4:8]
    assert listed(bucket, start_ms=NOW + 2 * HOUR_MS, end_ms=NOW + 4 * HOUR_MS + 1) == keys[4:10]
    assert listed(bucket, start_ms=NOW + 29 * HOUR_MS) == keys[58:]
    assert listed(bucket, end_ms=NOW) == []


def test_hours_outside_the_range_cost_no_more_than_the_page_that_ends_it() -> None:
    bucket, _ = hours(30, page=5)
    bucket.listed.clear()
    listed(bucket, start_ms=NOW + 20 * HOUR_MS, end_ms=NOW + 21 * HOUR_MS)
    assert len(bucket.listed) <= 2 * 5


def test_a_listing_during_commits_has_no_gap() -> None:
    """A segment is committed into a page that was read already, its successor into the next."""
    bucket, keys = hours(4, page=3)

    new: list[str] = []

    def commit_two(page: list[str]) -> None:
        if page[-1] == keys[2]:
            bucket.after_page = None
            for number, hour in ((1, 0), (2, 3)):
                new.append(
                    commit(bucket, [message(number, arrived_at=NOW + hour * HOUR_MS)], "shard-new")
                )

    bucket.after_page = commit_two
    assert sorted(listed(bucket)) == sorted([*keys, *new])


def test_a_shard_lists_its_own_segments() -> None:
    bucket, keys = hours(3)
    assert listed(bucket, shard=OTHER) == keys[1::2]


def test_a_segments_extent_is_what_the_worker_said_of_it() -> None:
    bucket = MemoryBucket()
    key = commit(bucket, [message(98, count=2), message(99), message(100, count=3)])
    assert extent_of(bucket, BUCKET, key) == (position("100", 0), 3, 6)  # type: ignore[arg-type]


def test_a_segments_rows_come_whole_and_in_batches_and_by_column() -> None:
    bucket: Any = MemoryBucket()
    key = commit(bucket, [message(n, seq=n * 3, count=3) for n in range(10, 30)], groups=4)
    table = read_segment(bucket, BUCKET, key)
    assert table.schema.equals(ROW_SCHEMA)
    assert table["seq"].to_pylist() == list(range(30, 90))
    batches = list(segment_batches(bucket, BUCKET, key, rows=7))
    assert max(batch.num_rows for batch in batches) <= 7
    assert pa.Table.from_batches(batches).equals(table)
    assert read_segment(bucket, BUCKET, key, ["boot"]).column_names == ["boot"]


def rows_of(*records: Any) -> Any:
    bucket: Any = MemoryBucket()
    return read_segment(bucket, BUCKET, commit(bucket, records))


def test_a_reading_is_an_accepted_identity_once_and_its_first_row() -> None:
    rows = rows_of(
        message(1, seq=5, count=2),
        message(2, seq=6, count=2, ts=NOW + 500),
        message(3, "dev-1", seq=6),
        message(4, seq=5, boot="boot-two"),
        message(5, seq=90, disposition="late"),
        record(6, None, b"garbage", disposition="malformed"),
    )
    distinct = distinct_readings(rows)
    names = ["device_id", "boot", "seq", "sequence_number"]
    assert [tuple(row[name] for name in names) for row in distinct.to_pylist()] == [
        ("dev-0", "boot-one", 5, "1"),
        ("dev-0", "boot-one", 6, "1"),
        ("dev-0", "boot-one", 7, "2"),
        ("dev-1", "boot-one", 6, "3"),
        ("dev-0", "boot-two", 5, "4"),
    ]  # fmt: skip
    assert distinct.schema.equals(ROW_SCHEMA)


def test_the_first_row_is_found_in_any_order_and_by_the_length_of_its_sequence_number() -> None:
    rows = rows_of(message(9, seq=1), message(10, seq=1), message(11, seq=1))
    backwards = rows.take([2, 1, 0])
    assert distinct_readings(backwards)["sequence_number"].to_pylist() == ["9"]


def test_an_identity_with_times_of_two_days_is_a_reading_of_each() -> None:
    rows = rows_of(message(1, seq=1), message(2, seq=1), message(3, seq=1, ts=NOW + 24 * HOUR_MS))
    assert distinct_readings(rows)["sequence_number"].to_pylist() == ["1", "3"]


def test_an_archive_without_accepted_rows_has_no_readings() -> None:
    rows = rows_of(record(6, None, b"garbage", disposition="malformed"))
    assert distinct_readings(rows).num_rows == 0


def test_a_segment_in_glacier_is_named_with_how_it_is_restored() -> None:
    bucket, keys = hours(1)

    def get_object(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "InvalidObjectState"}}, "GetObject")

    bucket.get_object = get_object  # type: ignore[method-assign]
    with pytest.raises(StoreError, match=f"{keys[0]} is in S3 Glacier.*aws s3api restore-object"):
        read_segment(bucket, BUCKET, keys[0])  # type: ignore[arg-type]


def test_any_other_refusal_of_s3_is_passed_on() -> None:
    bucket, _ = hours(1)
    with pytest.raises(ClientError):
        read_segment(bucket, BUCKET, "telemetry/v1/nothing.parquet")  # type: ignore[arg-type]
