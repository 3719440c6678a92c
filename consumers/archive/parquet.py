"""The archive's file format: one Parquet file a segment, one row a reading."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, repeat
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from consumers.disposition import OK
from consumers.exceptions import NotFinalError
from consumers.kcl.position import Position, position
from consumers.record import NOT_FOLDED, ShardRecord
from ingest.message import Message, Reading, decode_raw

_TIME: Final = pa.timestamp("ms", tz="UTC")

SCHEMA: Final = pa.schema(
    [
        ("device_id", pa.string()),
        ("ts", _TIME),
        ("boot", pa.string()),
        ("seq", pa.int64()),
        ("metrics", pa.map_(pa.string(), pa.float64())),
        ("received_at", _TIME),
        ("arrived_at", _TIME),
        ("shard_id", pa.string()),
        ("sequence_number", pa.string()),
        ("sub_sequence", pa.int64()),
        ("reading", pa.int32()),
        ("disposition", pa.string()),
        ("raw", pa.binary()),
    ]
)

FORMAT: Final[dict[str, Any]] = {
    "compression": "zstd",
    "compression_level": 3,
    # Sensors report few different values, so they too are worth a dictionary.
    "use_dictionary": [
        "device_id",
        "boot",
        "metrics.key_value.key",
        "metrics.key_value.value",
        "shard_id",
        "disposition",
    ],
    # What counts upwards takes a byte or two as differences.
    "column_encoding": {
        "ts": "DELTA_BINARY_PACKED",
        "seq": "DELTA_BINARY_PACKED",
        "received_at": "DELTA_BINARY_PACKED",
        "arrived_at": "DELTA_BINARY_PACKED",
        "sequence_number": "DELTA_BYTE_ARRAY",
    },
}
"""How a segment is encoded: arguments of ``pyarrow.parquet.ParquetWriter``."""


class SegmentFile:
    """A :class:`~consumers.archive.open_segment.SegmentBuffer` as Parquet (zstd, dictionaries where
    values repeat) in an unnamed temporary file, which only this process can open."""

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # closed with its segment
        self._writer = pq.ParquetWriter(self._file, SCHEMA, **FORMAT)
        self.rows = self.records = 0
        self.first: Position | None = None
        self.last: Position | None = None

    def add(self, records: Sequence[ShardRecord]) -> None:
        """As :class:`~consumers.archive.open_segment.SegmentBuffer`: one row group."""
        self._write(batch(records, self._shard))
        self.records += len(records)
        self.first = self.first or records[0].position
        self.last = records[-1].position

    def finish(self) -> BinaryIO:
        """As :class:`~consumers.archive.open_segment.SegmentBuffer`."""
        self._writer.close()
        return self._file

    def after(self, last: Position) -> SegmentFile:
        """As :class:`~consumers.archive.open_segment.SegmentBuffer`."""
        rest = SegmentFile(self._shard)
        with pq.ParquetFile(self.finish()) as file:
            for group in range(file.num_row_groups):
                rest._add_after(last, file.read_row_group(group).combine_chunks())
        self.close()
        return rest

    def close(self) -> None:
        """As :class:`~consumers.archive.open_segment.SegmentBuffer`."""
        self._writer.close()
        self._file.close()

    def _add_after(self, last: Position, table: Any) -> None:
        columns = (table["sequence_number"].to_pylist(), table["sub_sequence"].to_pylist())
        positions = [position(sequence, sub) for sequence, sub in zip(*columns, strict=True)]
        kept = [at > last for at in positions]
        if any(kept):
            self._write(table.filter(pa.array(kept)).combine_chunks().to_batches()[0])
            ours = [at for at in positions if at > last]
            self.records += len(set(ours))
            self.first = self.first or ours[0]
            self.last = ours[-1]

    def _write(self, rows: Any) -> None:
        self._writer.write_batch(rows)
        self.rows += rows.num_rows


def batch(records: Sequence[ShardRecord], shard: str) -> Any:
    """The rows of records, as an Arrow record batch.

    What belongs to the record is one array of records, repeated by Arrow for each reading.
    """
    messages = [_message(record) for record in records]
    readings = [reading for message in messages for reading in message.readings]
    counts = [len(message.readings) for message in messages]
    rows = len(readings)
    record_of_row = None
    if rows > len(records):
        record_of_row = pa.array([*chain.from_iterable(map(repeat, range(len(records)), counts))])

    def of_records(values: Sequence[Any], kind: Any) -> Any:
        array = pa.array(values, kind)
        return array if record_of_row is None else array.take(record_of_row)

    dispositions, raw = _dispositions(records, counts, rows)
    columns = {
        "device_id": of_records([record.device for record in records], pa.string()),
        "ts": _times(pa.array([reading.ts for reading in readings], pa.int64())),
        "boot": of_records([message.boot or None for message in messages], pa.string()),
        "seq": pa.array([*chain.from_iterable(map(_numbers, messages, counts))], pa.int64()),
        "metrics": _maps([reading.metrics for reading in readings]),
        "received_at": _times(
            of_records([record.received_at if record.device else None for record in records],
                       pa.int64())),
        "arrived_at": _times(of_records([record.arrived_at for record in records], pa.int64())),
        "shard_id": pa.repeat(shard, rows),
        "sequence_number": of_records([r.sequence_number for r in records], pa.string()),
        "sub_sequence": of_records([record.sub_sequence for record in records], pa.int64()),
        "reading": pa.array([*chain.from_iterable(map(_indices, messages, counts))], pa.int32()),
        "disposition": dispositions,
        "raw": raw,
    }  # fmt: skip
    return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


_UNREADABLE: Final = Message(0, "", 0, [Reading(None, None)])  # type: ignore[arg-type]
"""Stands for the message of a record that holds none: one row, without anything of a reading."""


def _message(record: ShardRecord) -> Message:
    """:raises NotFinalError: when the record was not folded."""
    if record.readings > 0:
        message = decode_raw(record.payload)
        assert isinstance(message, Message), "a record that has readings holds a message"
        return message
    if record.readings == NOT_FOLDED:
        raise NotFinalError(f"record {record.sequence_number} was not folded")
    return _UNREADABLE


def _numbers(message: Message, count: int) -> Iterable[int | None]:
    return (None,) if message is _UNREADABLE else range(message.seq, message.seq + count)


def _indices(message: Message, count: int) -> Iterable[int | None]:
    return (None,) if message is _UNREADABLE else range(count)


def _dispositions(
    records: Sequence[ShardRecord], counts: Sequence[int], rows: int
) -> tuple[Any, Any]:
    """The columns ``disposition`` and ``raw``. A record's bytes are in the first of its rows that
    were not folded, and not in each: a message of a thousand late readings would be there a
    thousand times."""
    if all(record.disposition == OK and record.dispositions is None for record in records):
        return pa.repeat(OK, rows), pa.nulls(rows, pa.binary())
    dispositions: list[str] = []
    raw: list[bytes | None] = []
    for record, count in zip(records, counts, strict=True):
        mine = record.dispositions or [record.disposition] * count
        dispositions += mine
        row_of_raw = next((row for row, disposition in enumerate(mine) if disposition != OK), None)
        raw += [record.payload if row == row_of_raw else None for row in range(count)]
    return pa.array(dispositions, pa.string()), pa.array(raw, pa.binary())


def _times(milliseconds: Any) -> Any:
    return milliseconds.cast(_TIME)


def _maps(rows: Sequence[Mapping[str, float] | None]) -> Any:
    """The metrics column from flat keys and values; a bool becomes 0.0 or 1.0."""
    there: Sequence[Any] = rows
    if None in rows:
        there = [row or {} for row in rows]
    ends: list[int | None] = [0, *accumulate(map(len, there))]
    if there is not rows:
        ends = [None if row is None else end for end, row in zip(ends, [*rows, {}], strict=True)]
    keys = pa.array([*chain.from_iterable(there)], pa.string())
    values = pa.array([*map(float, chain.from_iterable(map(dict.values, there)))], pa.float64())
    return pa.MapArray.from_arrays(pa.array(ends, pa.int32()), keys, values)
