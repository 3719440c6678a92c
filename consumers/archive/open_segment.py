"""The open segment: the newest records in memory, those before them encoded in a buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

from consumers.archive.segment_key import HOUR_MS
from consumers.kcl.position import Position
from consumers.record import ShardRecord


class SegmentBuffer(Protocol):
    """The encoded rows of a segment, in a file that is removed when the process ends."""

    @property
    def rows(self) -> int:
        """How many it holds."""

    @property
    def records(self) -> int:
        """How many records the rows are of."""

    @property
    def first(self) -> Position | None:
        """The first record; ``None`` while it is empty."""

    @property
    def last(self) -> Position | None:
        """The last record; ``None`` while it is empty."""

    def add(self, records: Sequence[ShardRecord]) -> None:
        """Encode records.

        :raises NotFinalError: when one of them was not folded.
        """

    def finish(self) -> BinaryIO:
        """Close the file for writing and return it, positioned anywhere."""

    def after(self, last: Position) -> SegmentBuffer:
        """Close this buffer and return a new one with the records after ``last``, of which there
        must be some."""

    def close(self) -> None:
        """Remove the file."""


class OpenSegment:
    """Consecutive records of one shard and one arrival hour that are in no object yet."""

    def __init__(self, new_buffer: Callable[[], SegmentBuffer], group_rows: int) -> None:
        self._new_buffer = new_buffer
        self._group_rows = group_rows
        self._buffer: SegmentBuffer | None = None
        self._tail: list[ShardRecord] = []
        self._tail_rows = self._counted = 0
        self._hour_start = 0
        self.first_arrived_at = 0
        self.opened_at = 0.0
        self.bytes = 0

    def __bool__(self) -> bool:
        return bool(self._tail) or self._buffer is not None

    def takes(self, arrived_at: int) -> bool:
        """Whether a record that arrived then (ms) belongs to this hour's segment."""
        return 0 <= arrived_at - self._hour_start < HOUR_MS or not self

    def append(self, record: ShardRecord, size: int, now: float) -> None:
        """Add a record; ``size`` is its data's bytes, ``now`` monotonic (s)."""
        if not self:
            self._hour_start = record.arrived_at - record.arrived_at % HOUR_MS
            self.opened_at = now
            self.first_arrived_at = record.arrived_at
        self._tail.append(record)
        self.bytes += size

    def encode_rows(self) -> None:
        """Encode the records in memory if they have ``group_rows`` rows. All must be final."""
        for record in self._tail[self._counted :]:
            self._tail_rows += max(record.readings, 1)
        self._counted = len(self._tail)
        if self._tail_rows >= self._group_rows:
            self._encode_tail()

    def _encode_tail(self) -> None:
        if self._buffer is None:
            self._buffer = self._new_buffer()
        self._buffer.add(self._tail)
        self._tail, self._tail_rows, self._counted = [], 0, 0

    def finish(self) -> BinaryIO:
        """The segment's file; see :meth:`SegmentBuffer.finish`."""
        if self._tail:
            self._encode_tail()
        assert self._buffer is not None, "an empty segment has no file"
        return self._buffer.finish()

    def after(self, last: Position) -> OpenSegment:
        """What is left when everything up to ``last`` is in the archive already."""
        rest = OpenSegment(self._new_buffer, self._group_rows)
        buffer = self._buffer
        if buffer is not None and buffer.last is not None and buffer.last > last:
            rest._buffer = buffer.after(last)
        elif buffer is not None:
            buffer.close()
        rest._tail = [record for record in self._tail if record.position > last]
        if rest:
            rest._hour_start, rest.opened_at = self._hour_start, self.opened_at
            rest.first_arrived_at = self.first_arrived_at
            rest.bytes = self.bytes
        return rest

    @property
    def hour(self) -> int:
        """The arrival hour, since 1970."""
        return self._hour_start // HOUR_MS

    @property
    def first(self) -> Position:
        """The position of the first record; the segment must not be empty."""
        encoded = self._buffer.first if self._buffer else None
        return encoded or self._tail[0].position

    @property
    def last(self) -> Position:
        """The position of the last record; the segment must not be empty."""
        encoded = self._buffer.last if self._buffer else None
        return self._tail[-1].position if self._tail or encoded is None else encoded

    @property
    def rows(self) -> int:
        """Rows so far, as far as they are known: a record that is not final counts as one."""
        unknown = len(self._tail) - self._counted
        return unknown + self._tail_rows + (self._buffer.rows if self._buffer else 0)

    @property
    def records(self) -> int:
        """Records so far."""
        return len(self._tail) + (self._buffer.records if self._buffer else 0)
