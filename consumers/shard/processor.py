"""One shard's work: receive, fold, archive, flush, and when the checkpoint moves.

The KCL checkpoint moves to the last record of a segment only when both of these hold (invariant K
in docs/guarantees.md), whichever comes first:

* the segment's object exists in the archive, with the final disposition of each reading;
* every reading up to there is durable in the hot tables.

Segments are committed by size and age; windows and device states
are written each at its own time (:mod:`consumers.hot.flush_queue`), so that a slow tier costs few
writes. A :class:`Mark` remembers how far a segment reached and in which epoch of the hot store; the
checkpoint follows when nothing of that epoch waits. What was checkpointed may be acknowledged to
its devices; see :class:`Acknowledger`.

After a crash the work repeats from the last checkpoint. Repeated, the fold decides the same
(:mod:`consumers.shard.fold_queue`), the ids are found in the items, the objects are found in the
archive, and the checkpoint moves on from there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from consumers import failpoints
from consumers.archive.commit import Archive
from consumers.exceptions import LeaseLostError
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.store import HotStore
from consumers.kcl.position import Position
from consumers.kcl.protocol import StreamRecord
from consumers.record import open_record
from consumers.shard.fold_queue import FoldQueue, FoldTraces, JudgeFor
from consumers.shard.report import ShardStats
from ingest.tables.watched import READ_S, WATCH_S

SLICE: Final = 500
"""Records that are processed between two readings of the clock."""

CATCHING_UP_MS: Final = 15_000
"""A worker this far behind the tip of its shard flushes by volume alone: timers would write each
window the more often, the longer the backlog takes."""

REST: Final = 9
"""A worker that was idle so many times as long as its last fold and flush took folds at once what
it receives, so that nothing waits for a timer while there is nothing else to do; a busier one folds
the more records together."""

UNCHECKPOINTED_RECORDS: Final = 250_000
"""With more records than these between the checkpoint and the newest archived record, what holds
the checkpoint back is written: after a crash they are processed again."""

UNCHECKPOINTED_BYTES: Final = 128 << 20
"""The same for bytes of data: until the checkpoint, a process's successor has to find them in the
journal (:mod:`consumers.shard.journal`)."""


class Mark(NamedTuple):
    """All records received before the end of ``epoch`` are folded and archived: the archive reaches
    ``position``, or further than this worker has read (``None``). They are all records of the
    daemon's actions before ``place``. ``since`` is when the oldest record arrived (ms) that was not
    archived before."""

    epoch: int
    position: Position | None
    received: int
    received_bytes: int
    since: int | None
    place: int


class Checkpointer(Protocol):
    """The KCL's side of a commit."""

    @property
    def place(self) -> int:
        """Which of the daemon's actions is being worked on."""

    def checkpoint(self, position: Position | None, place: int | None = None) -> bool:
        """Move the shard's checkpoint; ``None`` is the end of a closed shard. It covers every
        action before ``place``, by default before the one that is being worked on.

        ``False`` when the lease is lost: another worker has the shard and nothing more is
        ours to do. Raises for any other refusal.
        """


class Acknowledger(Protocol):
    """Tells devices which of their readings are durable in both stores. No call raises, and only
    :meth:`drain` waits for a broker."""

    def add(self, device: str, boot: str, seq: int, readings: int) -> None:
        """A message was read: ``readings`` readings of a boot, from ``seq`` on."""

    def on_archived(self) -> None:
        """Every id added so far is in the archive."""

    def on_durable(self, calls: int) -> None:
        """The ids that the oldest ``calls`` calls of :meth:`on_archived` covered are in the hot
        store too: acknowledge them."""

    def drain(self) -> None:
        """The process may end after this: wait a moment for pending acknowledgements."""


class Traces(FoldTraces, Protocol):
    """Follows sampled messages to the flush that makes them durable. No call raises, and only
    :meth:`drain` waits for a collector."""

    def on_flushed(self, seconds: float) -> None:
        """A flush has ended that took so long."""

    def drain(self) -> None:
        """The process may end after this: export what waits."""


class ShardProcessor:
    """Processes one shard while this worker holds its lease.

    ``behind_ms`` is how far the records are behind the tip of the shard, as the KCL says.
    """

    def __init__(
        self,
        *,
        hot: HotStore,
        archive: Archive,
        lateness: LatenessPolicy,
        checkpointer: Checkpointer,
        stats: ShardStats,
        clock: Callable[[], float],
        acknowledger: Acknowledger | None = None,
        read_watched: Callable[[], frozenset[str] | None] | None = None,
        traces: Traces | None = None,
        refresh_rules: Callable[[HotStore], None] | None = None,
        judge_for: JudgeFor | None = None,
    ) -> None:
        """``read_watched`` returns the devices that are watched, ``None`` when it cannot tell.
        ``refresh_rules`` gives the store the alert rules, and sees to it that they are known before
        the first record is folded; ``judge_for`` the schemas, for each fold."""
        self._refresh_rules = refresh_rules
        self._acknowledger = acknowledger
        self._hot = hot
        self._archive = archive
        self._checkpointer = checkpointer
        self._stats = stats
        self._clock = clock
        self._fold_queue = FoldQueue(
            hot, lateness, stats, acknowledger.add if acknowledger else None, traces, judge_for
        )
        self._traces = traces
        self._newest: StreamRecord | None = None
        self._checkpointed: Position | None = None
        self._may_checkpoint = True
        self._rested_at = -math.inf
        self._marks: deque[Mark] = deque()
        self.received = self._bytes = 0
        self._read_watched = read_watched
        self._watched_asked = self._watched_read = -float(WATCH_S)
        self._adopted_ahead = False
        self.behind_ms = 0
        self.lease_lost = False

    def process(self, records: Sequence[StreamRecord], *, may_checkpoint: bool = True) -> None:
        """Process a batch. It may be empty: an idle shard flushes and commits too.

        The KCL takes checkpoints only while it waits for this process. At other times (no event
        has come for a while, or a batch is repeated that it has its answer to) everything else is
        done, and the checkpoint is made with the next batch.

        :raises StoreError, GaveUpError: when a store refuses for good; the process must end.
        """
        self._may_checkpoint = may_checkpoint
        try:
            self._process(records)
        except LeaseLostError:
            self.lease_lost = True

    def _process(self, records: Sequence[StreamRecord]) -> None:
        for start in range(0, max(len(records), 1), SLICE):
            now = self._clock()
            if self._refresh_rules is not None:
                self._refresh_rules(self._hot)
            for record in records[start : start + SLICE]:
                self._receive(record, now)
            if self.lease_lost:
                return
            self._work(self._clock())

    def _work(self, now: float) -> None:
        """Do what is due: fold, archive, flush, checkpoint."""
        timers = self.behind_ms < CATCHING_UP_MS
        if timers:
            self._refresh_watched(now)
        rested = now >= self._rested_at
        if self._archive.is_due(now):
            self._archive_all(partial(self._flush_due, now, timers=timers))
        elif self._fold_queue.is_full or (timers and self._fold_queue.is_due(now, at_once=rested)):
            self._fold()
        self._flush_due(now, timers=timers)
        ended = self._clock()
        self._rested_at = max(self._rested_at, ended + REST * (ended - now))
        if self._adopted_ahead and self._reached() is not None:
            self._fold()
            self._mark()
            self._flush_until(self._marks[-1])
        if self._marks and self._acknowledger is not None:  # its devices wait to be told
            self._flush_until(self._marks[-1])
        elif self._marks and self._is_far_ahead(self._marks[0]):
            self._flush_until(self._marks[0])
        self._checkpoint_durable()

    def _flush_due(self, now: float, *, timers: bool) -> None:
        if self._hot.is_due(now, timers=timers):
            self._flush(partial(self._hot.flush_due, now, timers=timers))

    def _flush_until(self, mark: Mark) -> None:
        self._flush(partial(self._hot.flush_until, mark.epoch))

    def _flush(self, write: Callable[[], None]) -> None:
        """Write to the hot tables, and count how long it took when something was written."""
        written, started = self._hot.items_written, self._clock()
        write()
        if self._hot.items_written > written:
            seconds = self._clock() - started
            self._stats.flushes.add(seconds * 1000)
            if self._traces is not None:
                self._traces.on_flushed(seconds)

    def _is_far_ahead(self, mark: Mark) -> bool:
        """Whether too much was received since this mark, for which the checkpoint waits."""
        return (
            self.received - mark.received > UNCHECKPOINTED_RECORDS
            or self._bytes - mark.received_bytes > UNCHECKPOINTED_BYTES
        )

    def _refresh_watched(self, now: float) -> None:
        """Every few seconds, ask which devices are watched; forget them when nobody can say."""
        if self._read_watched is None or now - self._watched_asked < READ_S:
            return
        self._watched_asked = now
        devices = self._read_watched()
        if devices is not None:
            self._watched_read = now
            self._hot.watch(devices)
        elif now - self._watched_read >= WATCH_S:
            self._hot.watch(frozenset())

    @property
    def uncommitted_since(self) -> int | None:
        """When the oldest record arrived (ms) that is not durable in both stores; ``None`` without
        one. The checkpoint follows at once, or when the daemon takes it."""
        durable = self._hot.oldest_epoch
        for mark in self._marks:
            if mark.epoch >= durable and mark.since is not None:
                return mark.since
        return self._archive.uncommitted_since

    def _fold(self) -> None:
        """Fold every waiting record, and encode the rows, which are final then."""
        self._fold_queue.fold()
        self._archive.encode_rows()

    def commit(self) -> None:
        """Make every record received so far durable in both stores, and checkpoint it."""
        if self.lease_lost:
            return
        flush_all = partial(self._flush, self._hot.flush_all)
        try:
            self._archive_all(flush_all)
            flush_all()
        except LeaseLostError:
            self.lease_lost = True
            return
        failpoints.hit("hot_flushed")
        self._checkpoint_durable()

    def _archive_all(self, beside: Callable[[], None] | None = None) -> None:
        """Commit every record received so far to the archive, with the hot writes of ``beside``
        while the put is on its way."""
        self._fold_queue.fold()
        since = self._archive.uncommitted_since
        self._archive.commit(beside)
        self._mark(since)
        self._hot.forget_idle()
        self._stats.committed(self._archive.last_key)

    @property
    def is_covered(self) -> bool:
        """Whether nothing that was received would have to be done again."""
        if self.lease_lost or self._newest is None:
            return True
        return (
            self.uncommitted_since is None
            and not self._marks
            and self._checkpointed is not None
            and self._checkpointed >= self._newest.position
        )

    def _mark(self, since: int | None = None) -> None:
        """Every record received so far is folded and archived. Once the hot store is durable up to
        here, it can be checkpointed and acknowledged."""
        reached = self._reached()
        self._adopted_ahead = reached is None and self._archive.committed is not None
        self._marks.append(
            Mark(
                self._hot.end_epoch(),
                reached,
                self.received,
                self._bytes,
                since,
                self._checkpointer.place,
            )
        )
        if self._acknowledger is not None:
            self._acknowledger.on_archived()

    def _reached(self) -> Position | None:
        """Where the archive reaches, if every record up to there was received: another worker's
        segment can reach further."""
        reached, newest = self._archive.committed, self._newest
        if reached is None or newest is None or newest.position < reached:
            return None
        return reached

    def _checkpoint_durable(self) -> None:
        """Checkpoint and acknowledge the marks up to which the hot store is durable."""
        if not self._may_checkpoint:
            return
        marks, durable = self._marks, self._hot.oldest_epoch
        reached: Position | None = None
        passed = place = 0
        while marks and marks[0].epoch < durable:
            mark = marks.popleft()
            passed += 1
            if mark.position is not None:
                reached, place = mark.position, mark.place
        if reached is not None:
            self._checkpoint(reached, place)
        if passed and self._acknowledger is not None and not self.lease_lost:
            self._acknowledger.on_durable(passed)

    def shut_down(self) -> None:
        """The worker shall stop: commit while the lease is held."""
        self._may_checkpoint = True
        self.commit()
        if self._acknowledger is not None:
            self._acknowledger.drain()
        if self._traces is not None:
            self._traces.drain()

    def end_shard(self) -> None:
        """The shard is closed and read to its end: commit, and checkpoint its end."""
        self.shut_down()
        failpoints.hit("shard_ended")
        if not self.lease_lost:
            self.lease_lost = not self._checkpointer.checkpoint(None)

    def _checkpoint(self, position: Position, place: int) -> None:
        if self._checkpointed is None or position > self._checkpointed:
            failpoints.hit("before_checkpoint")
            if self._checkpointer.checkpoint(position, place):
                failpoints.hit("after_checkpoint")
                self._checkpointed = position
                self._stats.checkpointed()
            else:
                self.lease_lost = True

    def _receive(self, record: StreamRecord, now: float) -> None:
        if not self._archive.takes(record.approximate_arrival_timestamp):
            self._archive_all()
        if self.lease_lost:
            return
        opened = open_record(record)
        self._fold_queue.add(opened, now)
        self._archive.append(opened, len(record.data), now)
        self._newest = record
        self.received += 1
        self._bytes += len(record.data)
