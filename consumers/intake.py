"""Records that were taken and wait to be folded: what turns readings into runs.

A reading alone costs as much to fold as a hundred that follow each other, so a device's
readings are gathered for a moment, at most until the next flush or until :data:`FULL` have
come, and then folded as runs. Where anything about them is out of the ordinary (late, early or
out of range, a window with little room, a fold that raises) they are folded again reading by
reading, which decides each one's disposition; so the ordinary path needs no exactness of its
own but to notice that it does not apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from consumers.hot import HotStore, Placed, has_room_for_all, has_room_for_one
from consumers.judge import OK, Disposition, Judge
from consumers.runs import Run, run_of_one, runs_of
from consumers.stats import ShardStats
from consumers.taken import Taken
from consumers.windows import MAX_MAGNITUDE
from ingest.message import Message, Reading

FULL: Final = 10_000
"""Readings that wait at most."""


class Intake:
    """What one shard has taken and not folded yet."""

    def __init__(self, hot: HotStore, judge: Judge, stats: ShardStats) -> None:
        self._hot = hot
        self._judge = judge
        self._stats = stats
        self._waiting: dict[str, list[Taken]] = {}
        self._readings = 0

    def take(self, device: str, record: Taken, message: Message) -> None:
        """Let a record wait that holds a message."""
        waiting = self._waiting.get(device)
        if waiting is None:
            self._waiting[device] = [record]
        else:
            waiting.append(record)
        self._readings += len(message.readings)

    @property
    def is_full(self) -> bool:
        """Whether it is time to fold, for the sake of memory."""
        return self._readings >= FULL

    def fold(self) -> None:
        """Fold all that waits. Afterwards the dispositions of every taken record are final."""
        waiting, self._waiting, self._readings = self._waiting, {}, 0
        for device, records in waiting.items():
            if not self._folded_as_runs(device, records):
                for record in records:
                    self._fold_record(device, record)

    def _folded_as_runs(self, device: str, records: Sequence[Taken]) -> bool:
        """Fold a device's records if all their readings are acceptable, else change nothing."""
        try:
            received = [record.received_at or 0 for record in records]
            runs: list[Run] = []
            for boot, seq, readings in _consecutive(records):
                runs += runs_of(boot, seq, readings, self._hot.span)
            tiers = self._judge.tiers_of_all(
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
        self._stats.count(OK, sum([len(run) for run in runs]))
        return True

    def _fold_record(self, device: str, record: Taken) -> None:
        """Fold a record's acceptable readings, and say what becomes of each.

        An exception that nobody foresaw is narrowed to its record: one poison message must
        not stop a fleet. The stores are not touched here, so it can only be the data.
        """
        message, received_at = record.message, record.received_at or 0
        assert message is not None, "only a message waits to be folded"
        try:
            judged = [
                self._judged(device, message.boot, message.seq + i, reading, received_at)
                for i, reading in enumerate(message.readings)
            ]
            accepted = [p for placed, disposition in judged if disposition == OK for p in placed]
            if accepted:
                self._hot.fold(device, accepted, received_at)
            record.dispositions = [disposition for _, disposition in judged]
        except Exception as error:  # noqa: BLE001
            self._stats.internal_error(device, error)
            record.dispositions = ["internal_error"] * len(message.readings)
        for disposition in record.dispositions:
            self._stats.count(disposition)

    def _judged(
        self, device: str, boot: str, seq: int, reading: Reading, received_at: int
    ) -> tuple[Sequence[Placed], Disposition]:
        disposition = self._judge.disposition(reading, received_at)
        if disposition != OK:
            return (), disposition
        tiers = self._judge.tiers(received_at - reading.ts)
        placed = self._hot.place(device, run_of_one(boot, seq, reading), tiers)
        return (placed, OK) if has_room_for_one(placed) else ((), "overflow")


def _consecutive(records: Sequence[Taken]) -> Iterator[tuple[str, int, Sequence[Reading]]]:
    """A device's readings, put together where one message goes on where the last one ended."""
    boot, seq, following = "", -1, -1
    readings: list[Reading] = []
    for record in records:
        message = record.message
        assert message is not None, "only a message waits to be folded"
        if message.seq != following or message.boot != boot:
            if readings:
                yield boot, seq, readings
            boot, seq, following = message.boot, message.seq, message.seq
            readings = []
        readings += message.readings
        following += len(message.readings)
    yield boot, seq, readings


def _is_in_range(run: Run) -> bool:
    for metric in run.metrics.values():
        if metric.min < -MAX_MAGNITUDE or metric.max > MAX_MAGNITUDE:
            return False
    return True
