"""Records that were taken and wait to be folded: what turns readings into runs.

A reading alone costs as much to fold as a hundred that follow each other, so a device's
readings are gathered for a moment, at most until the next flush or until :data:`FULL` have
come, and then folded as runs. Where anything about them is out of the ordinary (late, early or
out of range, a window with little room, a fold that raises) they are folded again reading by
reading, which decides each one's disposition; so the ordinary path needs no exactness of its
own but to notice that it does not apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from consumers.hot import HotStore, Placed, has_room_for_all, has_room_for_one
from consumers.judge import OK, Disposition, Judge
from consumers.runs import Run, Stretch, run_of_one, runs_of
from consumers.stats import ShardStats
from consumers.taken import Taken
from consumers.windows import MAX_MAGNITUDE
from ingest.message import Message, Reading

FULL: Final = 20_000
"""Readings that wait at most."""


class Waiting:
    """What waits of one device: its records in order, when the rule received them, and their
    readings as stretches of consecutive ones."""

    __slots__ = ("open", "received", "records", "stretches")

    def __init__(self, boot: str, seq: int) -> None:
        self.records: list[Taken] = []
        self.received: list[int] = []
        self.open = Stretch(boot, seq, seq, [], [])
        self.stretches = [self.open]

    def add(self, record: Taken, message: Message) -> None:
        """Take the columns apart at once, while what was just decoded is in the cache."""
        self.records.append(record)
        self.received.append(record.received_at or 0)
        stretch = self.open
        if stretch.end != message.seq or stretch.boot != message.boot:
            self.open = stretch = Stretch(message.boot, message.seq, message.seq, [], [])
            self.stretches.append(stretch)
        readings = message.readings
        if len(readings) == 1:
            reading = readings[0]
            stretch.ts.append(reading.ts)
            stretch.rows.append(reading.metrics)
            stretch.end += 1
        else:
            stretch.ts += [reading.ts for reading in readings]
            stretch.rows += [reading.metrics for reading in readings]
            stretch.end += len(readings)


class Intake:
    """What one shard has taken and not folded yet."""

    def __init__(self, hot: HotStore, judge: Judge, stats: ShardStats) -> None:
        self._hot = hot
        self._judge = judge
        self._stats = stats
        self._waiting: dict[str, Waiting] = {}
        self._readings = 0

    def add(self, record: Taken) -> None:
        """Let a record's readings wait. One without any has its disposition already."""
        device, message = record.device, record.message
        if device is None or message is None:
            self._stats.count(record.disposition)
            return
        waiting = self._waiting.get(device)
        if waiting is None:
            waiting = self._waiting[device] = Waiting(message.boot, message.seq)
        waiting.add(record, message)
        self._readings += len(message.readings)

    @property
    def is_full(self) -> bool:
        """Whether it is time to fold, for the sake of memory."""
        return self._readings >= FULL

    def fold(self) -> None:
        """Fold all that waits. Afterwards the dispositions of every taken record are final."""
        waiting, self._waiting, self._readings = self._waiting, {}, 0
        for device, gathered in waiting.items():
            if not self._folded_as_runs(device, gathered):
                for record in gathered.records:
                    self._fold_record(device, record)

    def _folded_as_runs(self, device: str, gathered: Waiting) -> bool:
        """Fold a device's readings if all of them are acceptable, else change nothing."""
        try:
            received = gathered.received
            runs: list[Run] = []
            for stretch in gathered.stretches:
                runs += runs_of(stretch, self._hot.span)
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
        placed = self._hot.place(device, run_of_one(boot, seq, reading.ts, reading.metrics), tiers)
        return (placed, OK) if has_room_for_one(placed) else ((), "overflow")


def _is_in_range(run: Run) -> bool:
    for metric in run.metrics.values():
        if metric.min < -MAX_MAGNITUDE or metric.max > MAX_MAGNITUDE:
            return False
    return True
