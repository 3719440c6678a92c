"""Records that were taken and wait to be folded: what turns readings into runs.

A reading alone costs as much to fold as a hundred that follow each other, so a device's records
are gathered for a moment, at most until the next flush or until :data:`FULL`, and their readings
are folded as runs. Where anything about them is out of the ordinary (late, early or out of
range, a window with little room, a fold that raises) they are folded again reading by reading,
which decides each one's disposition; so the ordinary path needs no exactness of its own but to
notice that it does not apply.
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
from consumers.record import Taken
from consumers.shard.report import ShardStats
from ingest.message import Message, decode_raw

log: Final = logging.getLogger(__name__)

FULL: Final = 8 << 20
"""Bytes of memory, about, in which records wait at most."""

_RECORD_BYTES: Final = 300  # beside its payload


class Intake:
    """What one shard has taken and not folded yet."""

    def __init__(
        self,
        hot: HotStore,
        lateness: LatenessPolicy,
        stats: ShardStats,
        note: Callable[[str, str, int, int], None] | None = None,
    ) -> None:
        """``note`` hears of each message that was read: device, boot, ``seq``, readings."""
        self._note = note
        self._hot = hot
        self._lateness = lateness
        self._stats = stats
        self._waiting: dict[str, list[Taken]] = {}
        self._bytes = 0

    def add(self, record: Taken) -> None:
        """Let a record wait. One that no rule wrote has its disposition already."""
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
        """Whether it is time to fold, for the sake of memory."""
        return self._bytes >= FULL

    def fold(self) -> None:
        """Fold all that waits. Afterwards all that was taken is final."""
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        for device, records in waiting.items():
            messages = self._read(records)
            if self._note is not None:
                for message in messages:
                    if message is not None:
                        self._note(device, message.boot, message.seq, len(message.readings))
            if messages and not self._folded_as_runs(device, records, messages):
                for record, message in zip(records, messages, strict=True):
                    if message is not None:
                        self._fold_record(device, record, message)

    def _read(self, records: Sequence[Taken]) -> Sequence[Message | None]:
        """A device's messages; ``None`` for a record that holds none, which is final then."""
        messages: list[Message | None] = []
        append = messages.append
        for record in records:
            message = decode_raw(record.payload)
            if isinstance(message, Message):
                record.readings = len(message.readings)
                append(message)
            else:
                record.disposition = message.reason
                self._reject(record)
                append(None)
        return messages

    def _reject(self, record: Taken) -> None:
        self._stats.count(record.disposition)
        self._stats.reject(record.device, record.disposition, record.payload, record.arrived_at)

    def _folded_as_runs(
        self, device: str, records: Sequence[Taken], messages: Sequence[Message | None]
    ) -> bool:
        """Fold a device's readings if all of them are acceptable, else change nothing."""
        try:
            received = [record.received_at for record in records]
            runs: list[Run] = []
            for stretch in _stretches(messages):
                runs += runs_of(stretch, self._hot.span)
            if not runs:
                return True
            tiers = self._lateness.tiers_of_all(
                min(received) - max([run.newest for run in runs]),
                max(received) - min([run.oldest for run in runs]),
            )
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
        except Exception:  # noqa: BLE001  # it will come again, with the record that it is of
            return False
        self._stats.count(OK, sum([run.end - run.seq for run in runs]))
        return True

    def _fold_record(self, device: str, record: Taken, message: Message) -> None:
        """Fold a record's acceptable readings, and say what becomes of each.

        An exception that nobody foresaw is narrowed to its record: one poison message must
        not stop a fleet. The stores are not touched here, so it can only be the data.
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
    """A device's readings, put together where one message goes on where the last one ended."""
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
