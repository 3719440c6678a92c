"""The open segment: a run of whole records, most of them already encoded in a spool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

from consumers.archive.segment_key import HOUR_MS
from consumers.kcl.position import Position
from consumers.record import Taken


class Spool(Protocol):
    """Encoded rows of a segment, in a file that goes when the process does."""

    rows: int
    records: int
    first: Position | None
    last: Position | None

    def add(self, records: Sequence[Taken]) -> None:
        """Encode whole records, whose dispositions are final."""

    def finish(self) -> BinaryIO:
        """The whole file, to be read from wherever; nothing can be added any more."""

    def after(self, last: Position) -> Spool:
        """A spool of the records after that position, instead of this one."""

    def close(self) -> None:
        """Let go of the file."""


class OpenSegment:
    """Records of one shard and one arrival hour, in order, that no object has yet."""

    def __init__(self, new_spool: Callable[[], Spool], group_rows: int) -> None:
        self._new_spool = new_spool
        self._group_rows = group_rows
        self._spool: Spool | None = None
        self._tail: list[Taken] = []
        self._tail_rows = self._counted = 0
        self._hour_start = 0
        self.opened_at = 0.0
        self.bytes = 0

    def __bool__(self) -> bool:
        return bool(self._tail) or self._spool is not None

    def takes(self, arrived_at: int) -> bool:
        """Whether a record that arrived then (ms) belongs to this hour's segment."""
        return 0 <= arrived_at - self._hour_start < HOUR_MS or not self

    def append(self, record: Taken, size: int, now: float) -> None:
        """Add a record; ``size`` is its data's bytes, ``now`` monotonic (s)."""
        if not self:
            self._hour_start = record.arrived_at - record.arrived_at % HOUR_MS
            self.opened_at = now
        self._tail.append(record)
        self.bytes += size

    def spool(self) -> None:
        """Encode the records in memory if they make a group; all of them must be final."""
        for record in self._tail[self._counted :]:
            self._tail_rows += record.readings or 1
        self._counted = len(self._tail)
        if self._tail_rows >= self._group_rows:
            self._encode_tail()

    def _encode_tail(self) -> None:
        if self._spool is None:
            self._spool = self._new_spool()
        self._spool.add(self._tail)
        self._tail, self._tail_rows, self._counted = [], 0, 0

    def finish(self) -> BinaryIO:
        """The segment's file; see :meth:`Spool.finish`."""
        if self._tail:
            self._encode_tail()
        assert self._spool is not None, "an empty segment has no file"
        return self._spool.finish()

    def after(self, last: Position) -> OpenSegment:
        """What is left when everything up to ``last`` is in the archive already."""
        rest = OpenSegment(self._new_spool, self._group_rows)
        spool = self._spool
        if spool is not None and spool.last is not None and spool.last > last:
            rest._spool = spool.after(last)
        elif spool is not None:
            spool.close()
        rest._tail = [record for record in self._tail if record.position > last]
        if rest:
            rest._hour_start, rest.opened_at = self._hour_start, self.opened_at
            rest.bytes = self.bytes
        return rest

    @property
    def hour(self) -> int:
        """The arrival hour, since 1970."""
        return self._hour_start // HOUR_MS

    @property
    def first(self) -> Position:
        """Where the segment begins; it must not be empty."""
        spooled = self._spool.first if self._spool else None
        return spooled or self._tail[0].position

    @property
    def last(self) -> Position:
        """The last record's place; the segment must not be empty."""
        spooled = self._spool.last if self._spool else None
        return self._tail[-1].position if self._tail or spooled is None else spooled

    @property
    def rows(self) -> int:
        """Rows so far, as far as they are known: a record that is not final counts as one."""
        unknown = len(self._tail) - self._counted
        return unknown + self._tail_rows + (self._spool.rows if self._spool else 0)

    @property
    def records(self) -> int:
        """Records so far."""
        return len(self._tail) + (self._spool.records if self._spool else 0)
