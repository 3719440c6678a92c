"""The archive's file: a row for each reading, whatever became of it, and segments that are cut."""

from __future__ import annotations

from typing import Any, BinaryIO

import pyarrow.parquet as pq
import pytest

from consumers.archive.commit import Archive, Limits, Put
from consumers.archive.parquet import SCHEMA, SegmentFile, batch
from consumers.exceptions import NotFinalError
from consumers.kcl.protocol import StreamRecord
from consumers.record import ShardRecord, open_record
from ingest.record import encode_record
from tests.harness.segment_buffer import Row, decode_rows, rows_of
from tests.harness.shard import NOW, Shard, backoff, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3


def records(count: int) -> list[StreamRecord]:
    """Messages of one to three readings, with bools, gaps, garbage and foreign data between."""
    shard = Shard()
    for i in range(count):
        readings: list[tuple[int, dict[str, Any]]] = [
            (NOW + i * 10 + j, {"a": float(i), "on": j == 1} if j else {"b": 0.5})
            for j in range(1 + i % 3)
        ]
        if i % 7 == 5:
            readings[-1] = (NOW - 10**12, {"a": 1.0})  # late
        shard.put(f"dev-{i % 4}", payload("boot-one", i * 3, readings), NOW + i, NOW + i)
        if i % 5 == 2:
            shard.put("dev-x", b"\xff", NOW + i, NOW + i)
        if i % 5 == 3:
            shard.put_raw(b"nobody's", NOW + i)
    return shard.records


def read(file: BinaryIO) -> list[Row]:
    file.seek(0)
    table = pq.read_table(file)
    assert table.schema.equals(SCHEMA)
    table = table.drop_columns(["shard_id"])
    rows = []
    for values in zip(*(_plain(table[name]) for name in table.column_names), strict=True):
        row = Row(*values)
        metrics = None if row.metrics is None else dict(row.metrics)
        rows.append(row._replace(metrics=metrics))
    return rows


def _plain(column: Any) -> list[Any]:
    if "timestamp" in str(column.type):
        column = column.cast("int64")
    return list(column.to_pylist())


def settled(count: int) -> list[ShardRecord]:
    """Records as they are after their fold."""
    shard = Shard()
    shard.records = records(count)
    given: list[ShardRecord] = []
    worker = open_worker(shard, MemoryDynamo(), MemoryS3(), lambda: 0.0)
    worker._archive.append = lambda record, size, now: given.append(record)  # type: ignore[method-assign]
    worker.process(shard.records)
    worker._fold_queue.fold()
    return given


def test_the_file_holds_a_row_for_each_reading_with_all_that_is_known_of_it() -> None:
    given = settled(60)
    file = SegmentFile("shard-0")
    file.add(given[:25])
    file.add(given[25:])
    rows = read(file.finish())
    assert rows == [row for record in given for row in rows_of(record)]
    assert {row.disposition for row in rows} == {"ok", "late", "malformed"}
    assert (file.rows, file.records) == (len(rows), len(given))
    assert (file.first, file.last) == (given[0].position, given[-1].position)
    file.close()


@pytest.mark.parametrize("covered", [0, 1, 24, 25, 26, 70])
def test_a_file_is_cut_after_any_record(covered: int) -> None:
    given = settled(60)
    file = SegmentFile("shard-0")
    file.add(given[:25])
    file.add(given[25:])
    rest = file.after(given[covered].position)
    rows = read(rest.finish())
    left = given[covered + 1 :]
    assert rows == [row for record in left for row in rows_of(record)]
    assert (rest.rows, rest.records) == (len(rows), len(left))
    assert (rest.first, rest.last) == (left[0].position, left[-1].position)
    rest.close()


class FileS3(MemoryS3):
    """Remembers rows instead of bytes."""

    def create(self, key: str, body: BinaryIO, metadata: Any) -> Put:
        self.seen = getattr(self, "seen", [])
        put = super().create(key, body, metadata)
        if put is Put.CREATED:
            self.seen += read(body)
        return put


def test_a_record_that_was_not_folded_is_refused_by_the_archive() -> None:
    """Its dispositions are not decided yet."""
    record = open_record(records(1)[0])
    file = SegmentFile("shard-0")
    with pytest.raises(NotFinalError, match="was not folded"):
        file.add([record])
    assert file.rows == 0
    file.close()


def test_two_workers_that_cut_differently_archive_every_record_once() -> None:
    given = settled(60)
    s3 = FileS3()
    one = Archive(s3, "s", Limits(9, 1 << 30, 1e9, 4), lambda: SegmentFile("s"), backoff)
    two = Archive(s3, "s", Limits(9, 1 << 30, 1e9, 4), lambda: SegmentFile("s"), backoff)
    for number, record in enumerate(given):
        for archive, every in ((one, 7), (two, 11)):
            archive.append(record, 10, 0.0)
            archive.encode_rows()
            if number % every == every - 1:
                archive.commit()
    one.commit()
    two.commit()
    assert s3.seen == [row for record in given for row in rows_of(record)]


def test_opening_a_record_never_raises_and_keeps_its_payload() -> None:
    good = StreamRecord(encode_record(b"{}", "dev-1", NOW), "5", "", None, NOW)
    assert (
        open_record(good).device,
        open_record(good).payload,
        open_record(good).sub_sequence,
    ) == ("dev-1", b"{}", 0)
    foreign = open_record(StreamRecord(b"\xff", "6"))
    assert (foreign.device, foreign.payload, foreign.disposition) == (None, b"\xff", "malformed")


def test_rows_in_memory_read_back_as_they_were() -> None:
    shard = Shard()
    shard.records = records(9)
    s3 = MemoryS3()
    worker = open_worker(shard, MemoryDynamo(), s3, lambda: 0.0)
    worker.process(shard.records)
    worker.commit()
    rows = [row for body, _ in s3.objects.values() for row in decode_rows(body)]
    assert {row.sequence_number for row in rows} == {r.sequence_number for r in shard.records}


def test_a_message_that_is_not_folded_takes_its_own_size_and_not_that_for_each_reading() -> None:
    shard = Shard()
    late = [(NOW - 10**12 + i, {"a" * 60: float(i)}) for i in range(1000)]
    sent = payload("boot-one", 0, [(NOW, {"b": 1.0}), *late[1:]])
    shard.put("dev-1", sent, NOW, NOW)
    given: list[ShardRecord] = []
    worker = open_worker(shard, MemoryDynamo(), MemoryS3(), lambda: 0.0)
    worker._archive.append = lambda record, size, now: given.append(record)  # type: ignore[method-assign]
    worker.process(shard.records)
    worker._fold_queue.fold()
    rows = batch(given, "shardId-000000000000")
    assert rows.num_rows == 1000
    assert rows["raw"].nbytes < len(sent) + 8 * 1000
    assert rows["raw"].to_pylist() == [None, sent] + [None] * 998
