"""A segment's rows in memory, for the fault suite: nothing of Parquet, all of its protocol."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from consumers.disposition import OK
from consumers.kcl.position import Position, position
from consumers.record import ShardRecord
from ingest.message import Message, decode


class Row(NamedTuple):
    """One row of the archive, as its schema names the columns; times in ms."""

    device_id: str | None
    ts: int | None
    boot: str | None
    seq: int | None
    metrics: Mapping[str, float] | None
    received_at: int | None
    arrived_at: int
    sequence_number: str
    sub_sequence: int
    reading: int | None
    disposition: str
    raw: bytes | None


def rows_of(record: ShardRecord) -> Iterator[Row]:
    """What the archive must hold of a record."""
    received_at = None if record.device is None else record.received_at
    about = (received_at, record.arrived_at, record.sequence_number, record.sub_sequence)
    message = decode(record.payload) if record.disposition == OK else None
    if not isinstance(message, Message):
        yield Row(record.device, None, None, None, None, *about, None, record.disposition,
                  record.payload)  # fmt: skip
        return
    assert record.readings == len(message.readings), "the record was not folded"
    for index, reading in enumerate(message.readings):
        disposition = record.dispositions[index] if record.dispositions else OK
        raw = None if disposition == OK else record.payload
        yield Row(record.device, reading.ts, message.boot, message.seq + index, reading.metrics,
                  *about, index, disposition, raw)  # fmt: skip


class MemoryBuffer:
    """:class:`consumers.archive.open_segment.SegmentBuffer`."""

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.held: list[Row] = list(rows)

    def add(self, records: Sequence[ShardRecord]) -> None:
        assert records
        self.held += [row for record in records for row in rows_of(record)]

    def finish(self) -> BinaryIO:
        return io.BytesIO(pickle.dumps([tuple(row) for row in self.held]))

    def after(self, last: Position) -> MemoryBuffer:
        rest = MemoryBuffer([row for row in self.held if _place(row) > last])
        assert rest.held
        return rest

    def close(self) -> None:
        self.held = []

    @property
    def rows(self) -> int:
        return len(self.held)

    @property
    def records(self) -> int:
        return len({_place(row) for row in self.held})

    @property
    def first(self) -> Position | None:
        return _place(self.held[0]) if self.held else None

    @property
    def last(self) -> Position | None:
        return _place(self.held[-1]) if self.held else None


def _place(row: Row) -> Position:
    return position(row.sequence_number, row.sub_sequence)


def decode_rows(body: bytes) -> list[Row]:
    """The rows of an object that was made from a :class:`MemoryBuffer`."""
    return [Row(*values) for values in pickle.loads(body)]
