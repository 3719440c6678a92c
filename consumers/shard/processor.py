"""One shard's work: receive, fold, archive, and the order in which records become durable.

The commit order, which is the whole guarantee (invariant K):

1. every reading folded so far is durable in the hot tables;
2. the open segment's object exists in the archive;
3. the KCL checkpoint moves to that segment's last record.

What was committed may then be acknowledged to its devices; see :class:`Acknowledger`.

After a crash the work repeats from the last checkpoint. Repeated, step 1 finds the ids in the
items, step 2 finds the object, and step 3 moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from consumers import failpoints
from consumers.archive.commit import Archive
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.store import HotStore
from consumers.kcl.position import Position
from consumers.kcl.protocol import StreamRecord
from consumers.record import open_record
from consumers.shard.fold_queue import FoldQueue
from consumers.shard.report import ShardStats

SLICE: Final = 500
"""Records that are processed between two readings of the clock."""


class Checkpointer(Protocol):
    """The KCL's side of a commit."""

    def checkpoint(self, position: Position | None) -> bool:
        """Move the shard's checkpoint; ``None`` is the end of a closed shard.

        ``False`` when the lease is lost: another worker has the shard and nothing more is
        ours to do. Raises for any other refusal.
        """


class Acknowledger(Protocol):
    """Tells devices which of their readings are durable in both stores. No call raises, and only
    :meth:`drain` waits for a broker."""

    def add(self, device: str, boot: str, seq: int, readings: int) -> None:
        """A message was read: ``readings`` readings of a boot, from ``seq`` on."""

    def on_durable(self) -> None:
        """Every id added so far is durable in the hot store and in the archive."""

    def drain(self) -> None:
        """The process may end after this: wait a moment for pending acknowledgements."""


class ShardProcessor:
    """Processes one shard while this worker holds its lease."""

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
    ) -> None:
        self._acknowledger = acknowledger
        self._hot = hot
        self._archive = archive
        self._checkpointer = checkpointer
        self._stats = stats
        self._clock = clock
        self._fold_queue = FoldQueue(
            hot, lateness, stats, acknowledger.add if acknowledger else None
        )
        self._newest: StreamRecord | None = None
        self._checkpointed: Position | None = None
        self._may_checkpoint = True
        self.lease_lost = False

    def process(self, records: Sequence[StreamRecord], *, may_checkpoint: bool = True) -> None:
        """Process a batch. It may be empty: an idle shard flushes and commits too.

        The KCL takes checkpoints only while it waits for this process. At other times (no event
        has come for a while, or a batch is repeated that it has its answer to) everything else is
        done, and the checkpoint is made with the next batch.

        :raises StoreError, GaveUpError: when a store refuses for good; the process must end.
        """
        self._may_checkpoint = may_checkpoint
        for start in range(0, max(len(records), 1), SLICE):
            now = self._clock()
            for record in records[start : start + SLICE]:
                self._receive(record, now)
            if self.lease_lost:
                return
            now = self._clock()
            if self._archive.is_due(now) or (may_checkpoint and self._owes_checkpoint):
                self.commit()
            elif self._hot.is_due(now):
                self._fold()
                self._hot.flush_due(now)
            elif self._fold_queue.is_full:
                self._fold()

    @property
    def uncommitted_since(self) -> int | None:
        """When the oldest record that is not committed arrived (ms); ``None`` without one."""
        return self._archive.uncommitted_since

    def _fold(self) -> None:
        """Fold every waiting record, and encode the rows, which are final then."""
        self._fold_queue.fold()
        self._archive.encode_rows()

    def commit(self) -> None:
        """Make every record received so far durable, in the order above."""
        if self.lease_lost:
            return
        self._fold_queue.fold()
        self._hot.flush_all()
        failpoints.hit("hot_flushed")
        reached = self._archive.commit()
        self._checkpoint(reached)
        if self._acknowledger is not None and not self.lease_lost:
            self._acknowledger.on_durable()
        self._hot.forget_idle()
        self._stats.committed(self._archive.last_key)

    @property
    def _owes_checkpoint(self) -> bool:
        """Whether everything received is archived and the KCL does not know: another worker's
        segment covered it, or the segment was committed when no checkpoint could be made."""
        committed, newest = self._archive.committed, self._newest
        return (
            committed is not None
            and newest is not None
            and self.uncommitted_since is None
            and committed <= newest.position
            and (self._checkpointed is None or self._checkpointed < committed)
        )

    @property
    def is_covered(self) -> bool:
        """Whether nothing that was received would have to be done again."""
        if self.lease_lost or self._newest is None:
            return True
        return (
            self.uncommitted_since is None
            and self._checkpointed is not None
            and self._checkpointed >= self._newest.position
        )

    def shut_down(self) -> None:
        """The worker shall stop: commit while the lease is held."""
        self._may_checkpoint = True
        self.commit()
        if self._acknowledger is not None:
            self._acknowledger.drain()

    def end_shard(self) -> None:
        """The shard is closed and read to its end: commit, and checkpoint its end."""
        self.shut_down()
        failpoints.hit("shard_ended")
        if not self.lease_lost:
            self.lease_lost = not self._checkpointer.checkpoint(None)

    def _checkpoint(self, reached: Position | None) -> None:
        """Checkpoint where the archive reaches, unless that is past what this process has
        received: another worker's segment can reach further."""
        if reached is None or self._newest is None or not self._may_checkpoint:
            return
        position = min(reached, self._newest.position)
        if position == reached and (self._checkpointed is None or position > self._checkpointed):
            failpoints.hit("before_checkpoint")
            if self._checkpointer.checkpoint(position):
                failpoints.hit("after_checkpoint")
                self._checkpointed = position
                self._stats.checkpointed()
            else:
                self.lease_lost = True

    def _receive(self, record: StreamRecord, now: float) -> None:
        if not self._archive.takes(record.approximate_arrival_timestamp):
            self.commit()
        if self.lease_lost:
            return
        opened = open_record(record)
        self._fold_queue.add(opened)
        self._archive.append(opened, len(record.data), now)
        self._newest = record
