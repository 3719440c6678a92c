"""One shard's work: decode, judge, fold, archive, and the order in which things become durable.

The commit order, which is the whole guarantee (invariant K):

1. every reading folded so far is durable in the hot tables;
2. the open segment's object exists in the archive;
3. the KCL checkpoint moves to that segment's last record.

A crash anywhere repeats from the last checkpoint. Step 1 repeated finds the ids in the items,
step 2 repeated finds the object, step 3 repeated moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from consumers import failpoints
from consumers.archive import Archive
from consumers.hot import HotStore
from consumers.judge import OK, Disposition, Judge
from consumers.protocol import StreamRecord
from consumers.segment import Position, Row
from consumers.stats import ShardStats
from consumers.windows import FoldedReading
from ingest.message import Message, Rejection, decode
from ingest.record import Envelope, decode_record

SLICE: Final = 500
"""Records worked on between two looks at the clock."""


class Checkpointer(Protocol):
    """The KCL's side of a commit."""

    def checkpoint(self, position: Position | None) -> bool:
        """Move the shard's checkpoint; ``None`` is the end of a closed shard.

        ``False`` when the lease is lost: another worker has the shard and nothing more is
        ours to do. Raises for every other refusal.
        """


class ShardProcessor:
    """Processes one shard while its lease is ours."""

    def __init__(
        self,
        *,
        hot: HotStore,
        archive: Archive,
        judge: Judge,
        checkpointer: Checkpointer,
        stats: ShardStats,
        clock: Callable[[], float],
    ) -> None:
        self._hot = hot
        self._archive = archive
        self._judge = judge
        self._checkpointer = checkpointer
        self._stats = stats
        self._clock = clock
        self._received: Position | None = None
        self._checkpointed: Position | None = None
        self.lease_lost = False

    def process(self, records: Sequence[StreamRecord]) -> None:
        """Take a batch, empty ones included: an idle shard flushes and commits too.

        :raises StoreError, GaveUpError: when a store refuses for good; the process must end.
        """
        for start in range(0, max(len(records), 1), SLICE):
            for record in records[start : start + SLICE]:
                self._take(record)
            if self.lease_lost:
                return
            now = self._clock()
            if self._archive.is_due(now):
                self.commit()
            else:
                self._hot.flush_due(now)

    def commit(self) -> None:
        """Make everything taken so far durable, in the order above."""
        if self.lease_lost:
            return
        self._hot.flush_all()
        failpoints.hit("hot_flushed")
        reached = self._archive.commit()
        self._checkpoint(reached)
        self._hot.forget_idle()
        self._stats.committed(self._archive.last_key)

    def end_shard(self) -> None:
        """The shard is closed and read to its end: commit, and say so to the KCL."""
        self.commit()
        failpoints.hit("shard_ended")
        if not self.lease_lost:
            self.lease_lost = not self._checkpointer.checkpoint(None)

    def _checkpoint(self, reached: Position | None) -> None:
        """Follow the archive, but never past what the KCL has handed over: another worker's
        segment can reach further."""
        if reached is None or self._received is None:
            return
        position = min(reached, self._received)
        if position == reached and (self._checkpointed is None or position > self._checkpointed):
            failpoints.hit("before_checkpoint")
            if self._checkpointer.checkpoint(position):
                failpoints.hit("after_checkpoint")
                self._checkpointed = position
            else:
                self.lease_lost = True

    def _take(self, record: StreamRecord) -> None:
        arrived_at = record.approximate_arrival_timestamp
        if not self._archive.takes(arrived_at):
            self.commit()
        if self.lease_lost:
            return
        position = record.position
        rows, size = self._rows(record, position), len(record.data)
        self._archive.append(position, arrived_at, rows, size, self._clock())
        self._received = position

    def _rows(self, record: StreamRecord, position: Position) -> list[Row]:
        """Fold a record, and say what the archive keeps of it."""
        where = (record.approximate_arrival_timestamp, record.sequence_number, position.sub)
        envelope = decode_record(record.data)
        if isinstance(envelope, Rejection):
            return [self._whole(None, None, where, envelope.reason, record.data)]
        message = decode(envelope.payload)
        if isinstance(message, Rejection):
            return [
                self._whole(
                    envelope.device_id,
                    envelope.received_at,
                    where,
                    message.reason,
                    envelope.payload,
                )
            ]
        dispositions = self._fold(envelope, message)
        for disposition in dispositions:
            self._stats.count(disposition)
        return list(_reading_rows(envelope, message, dispositions, where))

    def _fold(self, envelope: Envelope, message: Message) -> Sequence[Disposition]:
        """Fold the message's acceptable readings; one disposition each.

        An exception that nobody foresaw is narrowed to its record: one poison message must
        not stop a fleet. The stores are not touched here, so it can only be the data.
        """
        try:
            judged = [self._judged(envelope, message, i) for i in range(len(message.readings))]
            accepted = [
                (reading, envelope.received_at - reading.ts)
                for reading, disposition in judged
                if disposition == OK
            ]
            if accepted:
                self._hot.fold(envelope.device_id, accepted, envelope.received_at)
        except Exception as error:  # noqa: BLE001
            self._stats.internal_error(envelope.device_id, error)
            return ["internal_error"] * len(message.readings)
        return [disposition for _, disposition in judged]

    def _judged(
        self, envelope: Envelope, message: Message, index: int
    ) -> tuple[FoldedReading, Disposition]:
        reading = message.readings[index]
        folded = FoldedReading(message.boot, message.seq + index, reading.ts, reading.metrics)
        disposition = self._judge.disposition(reading, envelope.received_at)
        age = envelope.received_at - reading.ts
        if disposition == OK and not self._hot.has_room(envelope.device_id, folded, age):
            disposition = "overflow"
        return folded, disposition

    def _whole(
        self,
        device: str | None,
        received_at: int | None,
        where: tuple[int, str, int],
        disposition: Disposition,
        raw: bytes,
    ) -> Row:
        """The one row of a record in which no reading can be read."""
        self._stats.count(disposition)
        return Row(device, None, None, None, None, received_at, *where, None, disposition, raw)


def _reading_rows(
    envelope: Envelope,
    message: Message,
    dispositions: Sequence[Disposition],
    where: tuple[int, str, int],
) -> Iterator[Row]:
    for index, (reading, disposition) in enumerate(
        zip(message.readings, dispositions, strict=True)
    ):
        yield Row(
            envelope.device_id,
            reading.ts,
            message.boot,
            message.seq + index,
            reading.metrics,
            envelope.received_at,
            *where,
            index,
            disposition,
            None if disposition == OK else envelope.payload,
        )
