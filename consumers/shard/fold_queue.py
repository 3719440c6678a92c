"""The fold queue: records of a shard that wait to be folded, by device.

To fold one reading costs as much as to fold a hundred that follow each other. So a device's records
wait, at most until the next flush or until :data:`FULL` bytes wait, and their readings are folded
as runs.

That is the fast path. It changes nothing and falls back to the slow path, reading by reading, when
any reading is late, early or out of range, when a window has little room, or when the fold raises.
The slow path decides the disposition of each reading.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from consumers.disposition import OK, Disposition
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.runs import Run, Stretch, run_of_one, runs_of
from consumers.hot.store import HotStore, Placed, has_room_for_all, has_room_for_one
from consumers.hot.windows import MAX_MAGNITUDE
from consumers.record import ShardRecord
from consumers.shard.report import ShardStats
from ingest.message import Message, decode_raw

log: Final = logging.getLogger(__name__)

FULL: Final = 8 << 20
"""Bytes of memory, about, in which records wait at most."""

_RECORD_BYTES: Final = 300  # beside its payload


class FoldQueue:
    """The records of one shard that are not folded yet."""

    def __init__(
        self,
        hot: HotStore,
        lateness: LatenessPolicy,
        stats: ShardStats,
        on_message: Callable[[str, str, int, int], None] | None = None,
    ) -> None:
        """``on_message`` is called with each decoded message: device, boot, ``seq``, readings."""
        self._on_message = on_message
        self._hot = hot
        self._lateness = lateness
        self._stats = stats
        self._waiting: dict[str, list[ShardRecord]] = {}
        self._bytes = 0

    def add(self, record: ShardRecord) -> None:
        """Let a record wait. One without a device is final already and is only counted."""
        device = record.device
        if device is None:
            self._reject(record)
            return
        try:
            self._waiting[device].append(record)
        except KeyError:  # once a device and fold
            self._waiting[device] = [record]
        self._bytes += len(record.payload) + _RECORD_BYTES

    @property
    def is_full(self) -> bool:
        """Whether to fold now, because as much waits as may be held in memory."""
        return self._bytes >= FULL

    def fold(self) -> None:
        """Fold every waiting record. Afterwards all records that were added are final."""
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        for device, records in waiting.items():
            messages = self._read(records)
            if self._on_message is not None:
                for message in messages:
                    if message is not None:
                        self._on_message(device, message.boot, message.seq, len(message.readings))
            if messages and not self._folded_as_runs(device, records, messages):
                for record, message in zip(records, messages, strict=True):
                    if message is not None:
                        self._fold_record(device, record, message)

    def _read(self, records: Sequence[ShardRecord]) -> Sequence[Message | None]:
        """A device's messages; ``None`` for a record that holds none, which becomes final here."""
        messages: list[Message | None] = []
        append = messages.append
        for record in records:
            message = decode_raw(record.payload)
            if isinstance(message, Message):
                record.readings = len(message.readings)
                append(message)
            else:
                record.disposition = message.reason
                record.readings = 0
                self._reject(record)
                append(None)
        return messages

    def _reject(self, record: ShardRecord) -> None:
        self._stats.count(record.disposition)
        self._stats.reject(record.device, record.disposition, record.payload, record.arrived_at)

    def _folded_as_runs(
        self, device: str, records: Sequence[ShardRecord], messages: Sequence[Message | None]
    ) -> bool:
        """Fold a device's readings if all of them are acceptable, else change nothing."""
        try:
            received = [record.received_at for record in records]
            runs: list[Run] = []
            for stretch in _stretches(messages):
                runs += runs_of(stretch, self._hot.span)
            if not runs:
                return True
            least = min(received) - max([run.newest for run in runs])
            greatest = max(received) - min([run.oldest for run in runs])
            self._stats.on_ages(device, least, greatest)
            tiers = self._lateness.tiers_of_all(least, greatest)
            if tiers is None:
                return False
            placed: list[Placed] = []
            for run in runs:
                if not _is_in_range(run):
                    return False
                placed += self._hot.place(device, run, tiers)
            if not has_room_for_all(placed):
                return False
            self._hot.fold(device, placed, max(received))
        except Exception:  # noqa: BLE001  # the slow path meets it again, with its record
            return False
        self._stats.count(OK, sum([run.end - run.seq for run in runs]))
        return True

    def _fold_record(self, device: str, record: ShardRecord, message: Message) -> None:
        """Fold a record's acceptable readings, and decide the disposition of each.

        An unexpected exception is confined to its record, so that one poison message does not stop
        a fleet. No store is called here, so only the data can have caused it.
        """
        received_at = record.received_at
        try:
            judged = [self._judged(device, message, i, received_at) for i in range(record.readings)]
            accepted = [p for placed, disposition in judged if disposition == OK for p in placed]
            if accepted:
                self._hot.fold(device, accepted, received_at)
            record.dispositions = [disposition for _, disposition in judged]
        except Exception:
            log.exception("a message of %s is archived as internal_error", device)
            record.dispositions = ["internal_error"] * record.readings
        for disposition in record.dispositions:
            self._stats.count(disposition)

    def _judged(
        self, device: str, message: Message, index: int, received_at: int
    ) -> tuple[Sequence[Placed], Disposition]:
        reading = message.readings[index]
        disposition = self._lateness.disposition(reading, received_at)
        if disposition != OK:
            return (), disposition
        run = run_of_one(message.boot, message.seq + index, reading.ts, reading.metrics)
        placed = self._hot.place(device, run, self._lateness.tiers(received_at - reading.ts))
        return (placed, OK) if has_room_for_one(placed) else ((), "overflow")


def _stretches(messages: Sequence[Message | None]) -> Sequence[Stretch]:
    """A device's readings, joined where a message continues the sequence of the one before."""
    stretches: list[Stretch] = []
    boot, end = "", -1
    ts: list[int] = []
    rows: list[dict[str, float | bool]] = []
    for message in messages:
        if message is None:
            continue
        if message.seq != end or message.boot != boot:
            boot, end = message.boot, message.seq
            ts, rows = [], []
            stretches.append(Stretch(boot, end, ts, rows))
        readings = message.readings
        if len(readings) == 1:
            reading = readings[0]
            ts.append(reading.ts)
            rows.append(reading.metrics)
        else:
            ts += [reading.ts for reading in readings]
            rows += [reading.metrics for reading in readings]
        end += len(readings)
    return stretches


def _is_in_range(run: Run) -> bool:
    for metric in run.metrics.values():
        if metric.min < -MAX_MAGNITUDE or metric.max > MAX_MAGNITUDE:
            return False
    return True
