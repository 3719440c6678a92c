"""The archive of one shard: an append-only chain of segments, each committed by its creation.

Two workers can believe that they own a shard. Both write the segment that begins where the
last one ended; the store lets one create it, and the other adopts it: it drops what the
object covers and carries on after it. So every record is in exactly one object, whatever
crashes, and the object's metadata tells where to go on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from consumers import failpoints
from consumers.archive import segment_key as segments
from consumers.archive.open_segment import OpenSegment, SegmentBuffer
from consumers.aws.backoff import Backoff
from consumers.kcl.position import Position
from consumers.record import ShardRecord


class Put(enum.Enum):
    """What became of a conditional put."""

    CREATED = enum.auto()
    EXISTS = enum.auto()
    AGAIN = enum.auto()


class ObjectStore(Protocol):
    """What this module needs of S3. Every call raises for what no retry mends."""

    def create(self, key: str, body: BinaryIO, metadata: Mapping[str, str]) -> Put:
        """Create the object from the whole file, unless one of that name exists. ``AGAIN``:
        outcome unknown."""

    def metadata(self, key: str) -> Mapping[str, Any] | None:
        """The object's metadata; ``None`` when the store is busy."""

    def keys(self, prefix: str) -> Sequence[str] | None:
        """Names of all objects that begin so; ``None`` when the store is busy."""


GROUP_ROWS: Final = 5_000


class Limits(NamedTuple):
    """When a segment closes: rows, bytes of payload, age (s).

    ``group_rows`` wait in memory to be encoded together: few enough that a segment needs little
    memory however long it stays open, and that a reader looking for one device or minute skips
    most of it.
    """

    rows: int
    bytes: int
    age_s: float
    group_rows: int = GROUP_ROWS


class Archive:
    """Collects a shard's records and commits them in segments.

    ``committed`` is the last position known to be in the archive; records at or before it are
    not taken again.
    """

    def __init__(
        self,
        store: ObjectStore,
        shard: str,
        limits: Limits,
        new_buffer: Callable[[], SegmentBuffer],
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._store = store
        self._shard = shard
        self._limits = limits
        self._backoff = backoff
        self._aligned = False
        self._in_committed = False
        self.segment = OpenSegment(new_buffer, limits.group_rows)
        self.committed: Position | None = None
        self.objects = 0
        self.adopted = 0
        self.last_key = ""

    def takes(self, arrived_at: int) -> bool:
        """Whether the open segment may take a record that arrived then; commit first if not."""
        return self.segment.takes(arrived_at)

    def append(self, record: ShardRecord, size: int, now: float) -> None:
        """Add a record, later than those before it. One that the archive has already is ignored."""
        if self._in_committed and self.committed is not None:
            if record.position <= self.committed:
                return
            self._in_committed = False
        self.segment.append(record, size, now)

    @property
    def uncommitted_since(self) -> int | None:
        """When the oldest record of the open segment arrived (ms); ``None`` when it is empty."""
        return self.segment.first_arrived_at if self.segment else None

    def encode_rows(self) -> None:
        """Encode the records in memory, if they are many. All that were appended must be final."""
        self.segment.encode_rows()

    def is_due(self, now: float) -> bool:
        """Whether the open segment is full or old enough to be committed."""
        segment, limits = self.segment, self._limits
        return bool(segment) and (
            segment.rows >= limits.rows
            or segment.bytes >= limits.bytes
            or now - segment.opened_at >= limits.age_s
        )

    def commit(self) -> Position | None:
        """Return when every record taken so far is in the archive, and up to where it reaches.
        The dispositions of all of them must be final.

        That may be further than this worker has read, when another one was ahead.

        :raises GaveUpError: when the store stays busy; nothing is lost, and nothing doubled.
        """
        backoff = self._backoff()
        while self.segment:
            if not self._aligned:
                self._align(backoff)
            elif self._create(backoff):
                break
        return self.committed

    def _create(self, backoff: Backoff) -> bool:
        """Try to create the open segment's object; ``True`` when it is ours and committed."""
        segment = self.segment
        body = segment.finish()
        key = segments.object_key(self._shard, segment.first, segment.hour)
        metadata = segments.last_metadata(segment.last, segment.records, segment.rows)
        failpoints.hit("before_put")
        while (put := self._store.create(key, body, metadata)) is Put.AGAIN:
            backoff.wait(f"S3 does not take {key}")
        failpoints.hit("after_put")
        if put is Put.EXISTS:
            self._adopt(key, backoff)
            return False
        self.objects += 1
        self._advance(key, segment.last)
        return True

    def _align(self, backoff: Backoff) -> None:
        """Before this process's first commit: is its first record inside a committed segment?

        It is when the checkpoints were lost, or the stream's oldest records have expired.
        """
        segment = self.segment
        prefix = segments.hour_prefix(self._shard, segment.hour)
        while (keys := self._store.keys(prefix)) is None:
            backoff.wait(f"S3 does not list {prefix}")
        if key := segments.may_cover(keys, segment.first):
            self._adopt(key, backoff)
        else:
            self._aligned = True

    def _adopt(self, key: str, backoff: Backoff) -> None:
        while (metadata := self._store.metadata(key)) is None:
            backoff.wait(f"S3 does not answer for {key}")
        last = segments.last_of(metadata)
        if last < self.segment.first:  # the newest segment ends before ours: nothing to adopt
            self._aligned = True
            return
        self.adopted += 1
        self._advance(key, last)

    def _advance(self, key: str, last: Position) -> None:
        self.committed = last
        self.last_key = key
        self.segment = self.segment.after(last)
        self._in_committed = True
