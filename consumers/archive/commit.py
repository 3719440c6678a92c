"""The archive of one shard: a chain of segments, each committed by the creation of its object.

Two workers can believe that they own a shard. Both then write the segment that begins where the
last one ended. The store lets one of them create the object. The other adopts it: it drops the
records that the object covers and continues after them. So every record is in exactly one object
after any crash, and the object's metadata says where to continue."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from consumers import failpoints
from consumers.archive import segment_key as segments
from consumers.archive.open_segment import OpenSegment, SegmentBuffer
from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls, OneAtATime
from consumers.kcl.position import Position
from consumers.record import ShardRecord


class Put(enum.Enum):
    """The outcome of a conditional put; ``AGAIN``: not known, send it again."""

    CREATED = enum.auto()
    EXISTS = enum.auto()
    AGAIN = enum.auto()


class ObjectStore(Protocol):
    """The calls of S3 that this module needs. Each raises ``StoreError`` for errors that no retry
    mends."""

    def create(self, key: str, body: BinaryIO, metadata: Mapping[str, str]) -> Put:
        """Create the object from the whole file, unless one of that name exists."""

    def metadata(self, key: str) -> Mapping[str, Any] | None:
        """The object's metadata; ``None`` when the store is busy."""

    def keys(self, prefix: str) -> Sequence[str] | None:
        """The keys that begin with the prefix; ``None`` when the store is busy."""


GROUP_ROWS: Final = 5_000


class Limits(NamedTuple):
    """When a segment closes: rows, bytes of payload, age (s).

    ``group_rows`` rows are encoded together, as one row group of Parquet: few enough that an open
    segment needs little memory, and that a reader of one device or minute skips most of the object.
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
        calls: Calls | None = None,
    ) -> None:
        """``calls`` runs the puts; without it, each keeps the caller waiting."""
        self._calls = calls or OneAtATime()
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

    def commit(self, beside: Callable[[], None] | None = None) -> Position | None:
        """Archive every record appended so far, all of which must be final. Returns the position up
        to which the archive reaches. ``beside`` is work to do once, if there is a put to wait for
        while it is on its way. It must not append.

        The archive can reach further than this worker has read, when another worker was ahead.

        :raises GaveUpError: when the store stays busy. Nothing is lost or archived twice then.
        """
        backoff = self._backoff()
        while self.segment:
            if not self._aligned:
                self._align(backoff)
                continue
            created, beside = self._create(backoff, beside), None
            if created:
                break
        return self.committed

    def _create(self, backoff: Backoff, beside: Callable[[], None] | None) -> bool:
        """Try to create the open segment's object; ``True`` when it is ours and committed."""
        segment = self.segment
        body = segment.finish()
        key = segments.object_key(self._shard, segment.first, segment.hour)
        metadata = segments.last_metadata(segment.last, segment.records, segment.rows)
        failpoints.hit("before_put")
        create = partial(self._store.create, key, body, metadata)
        self._calls.submit(create)
        if beside is not None:
            beside()
        put = self._calls.result()
        while put is Put.AGAIN:
            backoff.wait(f"S3 does not take {key}")
            put = create()
        failpoints.hit("after_put")
        if put is Put.EXISTS:
            self._adopt(key, backoff)
            return False
        self.objects += 1
        self._advance(key, segment.last)
        return True

    def _align(self, backoff: Backoff) -> None:
        """Before the first commit of this process: find out whether its first record is inside a
        committed segment. It is when checkpoints were lost, or the stream's oldest records have
        expired.
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
