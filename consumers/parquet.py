"""The archive's file format: one Parquet file a segment, one row a reading."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from consumers.judge import OK
from consumers.segment import Position, position
from consumers.taken import Taken
from ingest.message import Message, decode_raw

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

_DICTIONARY: Final = [
    "device_id",
    "boot",
    "metrics.key_value.key",
    "shard_id",
    "disposition",
    "sequence_number",
]


class SegmentFile:
    """:class:`consumers.open_segment.Spool` as Parquet (zstd, dictionaries where values repeat)
    in an unnamed temporary file, which only this process can open."""

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._file: BinaryIO = tempfile.TemporaryFile()
        self._writer = pq.ParquetWriter(
            self._file, SCHEMA, compression="zstd", compression_level=3, use_dictionary=_DICTIONARY
        )
        self.rows = self.records = 0
        self.first: Position | None = None
        self.last: Position | None = None

    def add(self, records: Sequence[Taken]) -> None:
        """See :class:`~consumers.open_segment.Spool`; the records are one row group."""
        self._write(batch(records, self._shard))
        self.records += len(records)
        self.first = self.first or records[0].position
        self.last = records[-1].position

    def finish(self) -> BinaryIO:
        """See :class:`~consumers.open_segment.Spool`."""
        self._writer.close()
        return self._file

    def after(self, last: Position) -> SegmentFile:
        """See :class:`~consumers.open_segment.Spool`."""
        rest = SegmentFile(self._shard)
        with pq.ParquetFile(self.finish()) as file:
            for group in range(file.num_row_groups):
                rest._add_after(last, file.read_row_group(group).combine_chunks())
        self.close()
        return rest

    def close(self) -> None:
        """See :class:`~consumers.open_segment.Spool`."""
        self._writer.close()
        self._file.close()

    def _add_after(self, last: Position, table: Any) -> None:
        columns = (table["sequence_number"].to_pylist(), table["sub_sequence"].to_pylist())
        places = [position(sequence, sub) for sequence, sub in zip(*columns, strict=True)]
        kept = [at > last for at in places]
        if any(kept):
            self._write(table.filter(pa.array(kept)).combine_chunks().to_batches()[0])
            ours = [at for at in places if at > last]
            self.records += len(set(ours))
            self.first = self.first or ours[0]
            self.last = ours[-1]

    def _write(self, rows: Any) -> None:
        self._writer.write_batch(rows)
        self.rows += rows.num_rows


def batch(records: Iterable[Taken], shard: str) -> Any:
    """The rows of records, column by column, as an Arrow record batch.

    The device, boot, times and names of a record are the same for all its readings, so columns
    are built record by record, and values in one go.
    """
    columns = _Columns()
    for record in records:
        columns.add(record)
    n = len(columns.ts)
    arrays = {
        "device_id": columns.device_id,
        "ts": columns.ts,
        "boot": columns.boot,
        "seq": columns.seq,
        "received_at": columns.received_at,
        "arrived_at": columns.arrived_at,
        "sequence_number": columns.sequence_number,
        "sub_sequence": columns.sub_sequence,
        "reading": columns.reading,
        "disposition": columns.disposition,
        "raw": columns.raw,
        "shard_id": [shard] * n,
    }
    return pa.record_batch(
        [
            _maps(columns.metrics) if field.name == "metrics"
            else _array(arrays[field.name], field.type)
            for field in SCHEMA
        ],
        schema=SCHEMA,
    )  # fmt: skip


class _Columns:
    """Python lists, one a column."""

    def __init__(self) -> None:
        self.device_id: list[str | None] = []
        self.ts: list[int | None] = []
        self.boot: list[str | None] = []
        self.seq: list[int | None] = []
        self.metrics: list[Mapping[str, float] | None] = []
        self.received_at: list[int | None] = []
        self.arrived_at: list[int] = []
        self.sequence_number: list[str] = []
        self.sub_sequence: list[int] = []
        self.reading: list[int | None] = []
        self.disposition: list[str] = []
        self.raw: list[bytes | None] = []

    def add(self, record: Taken) -> None:
        message = decode_raw(record.payload) if record.readings else None
        if not isinstance(message, Message):
            n = 1
            self.ts.append(None)
            self.boot.append(None)
            self.seq.append(None)
            self.metrics.append(None)
            self.reading.append(None)
        else:
            n = len(message.readings)
            self.ts += [reading.ts for reading in message.readings]
            self.boot += [message.boot] * n
            self.seq += range(message.seq, message.seq + n)
            self.metrics += [reading.metrics for reading in message.readings]
            self.reading += range(n)
        self.device_id += [record.device] * n
        self.received_at += [None if record.device is None else record.received_at] * n
        self.arrived_at += [record.arrived_at] * n
        self.sequence_number += [record.sequence_number] * n
        self.sub_sequence += [record.sub_sequence] * n
        dispositions = record.dispositions or [record.disposition] * n
        self.disposition += dispositions
        self.raw += [None if disposition == OK else record.payload for disposition in dispositions]


def _array(values: Sequence[Any], kind: Any) -> Any:
    """An array of one column. Times are read as integers, which is quicker by half."""
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)


def _maps(rows: Sequence[Mapping[str, float] | None]) -> Any:
    """The metrics column from flat keys and values; a bool becomes 0.0 or 1.0."""
    ends, end = [0], 0
    for row in rows:
        end += len(row or ())
        ends.append(end)
    if None in rows:
        ends = [None if row is None else at for at, row in zip(ends, [*rows, {}], strict=True)]  # type: ignore[misc]
    there = [row for row in rows if row is not None]
    keys = pa.array([*chain.from_iterable(there)], pa.string())
    values = pa.array([*map(float, chain.from_iterable(row.values() for row in there))])
    return pa.MapArray.from_arrays(pa.array(ends, pa.int32()), keys, values.cast(pa.float64()))
