"""The fold queue: records of a shard that wait to be folded, by device.

To fold one reading costs as much as to fold a hundred that follow each other. So a device's records
wait, at most until the next flush or until :data:`FULL` bytes wait, and their readings are folded
as runs.

That is the fast path. It changes nothing and falls back to the slow path, reading by reading, when
any reading is late, early or out of range, when a window has little room, or when the fold raises.
The slow path decides the disposition of each reading.

**Dispositions are final after the fold**, before anything is archived, and every replay decides the
same: a shard's records are judged in their order, on windows that hold exactly the accepted
readings before them (what a window holds beyond that are duplicates, which are accepted), and a
window that is full is closed for good. This needs that a device's records come in one shard at a
time, as the partition key gives; of a device that is written to two shards at once, a reading that
meets a full window can be archived as ``overflow`` and yet be folded.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from consumers.disposition import OK, Disposition
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.runs import Run, Stretch, run_of_one, runs_of
from consumers.hot.store import (
    HotStore,
    Placed,
    Where,
)
from consumers.hot.windows import MAX_MAGNITUDE, MAX_WEIGHT, Window, has_room
from consumers.record import ShardRecord
from ingest.message import Message, Reading, Rejection, decode_raw

if TYPE_CHECKING:
    from consumers.schemas.judge import Judge

log: Final = logging.getLogger(__name__)

FULL: Final = 8 << 20
"""Bytes of memory, about, in which records wait at most."""

_RECORD_BYTES: Final = 300  # beside its payload

CROWDED_FOLDS: Final = 60
"""How many folds a device whose windows had no room goes the slow path at once: to try the fast
path first costs such a device's shard as much again."""

Judged = tuple[Sequence[Where], Disposition]
"""The windows that a reading belongs to, and its disposition as far as its own fields decide it."""


class FoldStats(Protocol):
    """What the fold counts, see :class:`consumers.shard.report.ShardStats`."""

    def count(self, disposition: str, readings: int = 1) -> None:
        """So many readings, or records without one, have this disposition."""

    def reject(
        self, device: str | None, disposition: str, raw: bytes, at: int, readings: int = 1
    ) -> None:
        """A record, which the stream took then (ms), has readings that were not folded."""

    def on_ages(self, device: str, least_ms: int, greatest_ms: int) -> None:
        """Readings of a device were so old when the broker received them."""

    def on_outside(self, device: str, readings: int) -> None:
        """Readings of a device are outside of its type's schema, which only warns."""


JudgeFor = Callable[[Collection[str]], "Judge | None"]
"""Gives what decides by schemas for records of these devices; ``None`` where there are no schemas.
See :meth:`consumers.schemas.at_work.SchemasAtWork.judge_for`."""


class FoldTraces(Protocol):
    """Follows sampled messages: :class:`consumers.traces.shard_traces.ShardTraces`."""

    def on_read(
        self, device: str, records: Sequence[ShardRecord], messages: Sequence[Message | None]
    ) -> None:
        """A device's records were decoded, and are about to be folded."""

    def on_folded(self) -> None:
        """Every record that was read is final."""


class FoldQueue:
    """The records of one shard that are not folded yet."""

    def __init__(
        self,
        hot: HotStore,
        lateness: LatenessPolicy,
        stats: FoldStats,
        on_message: Callable[[str, str, int, int], None] | None = None,
        traces: FoldTraces | None = None,
        judge_for: JudgeFor | None = None,
    ) -> None:
        """``on_message`` is called with each decoded message: device, boot, ``seq``, readings."""
        self._judge_for = judge_for
        self._judge: Judge | None = None
        self._on_message = on_message
        self._traces = traces
        self._hot = hot
        self._lateness = lateness
        self._stats = stats
        self._waiting: dict[str, list[ShardRecord]] = {}
        self._bytes = 0
        self._since = 0.0
        self._crowded: set[str] = set()
        self._folds = 0

    def add(self, record: ShardRecord, now: float = 0.0) -> None:
        """Let a record wait from ``now`` (monotonic, s) on. One without a device is final already
        and is only counted."""
        device = record.device
        if device is None:
            self._reject(record)
            return
        if not self._bytes:
            self._since = now
        try:
            self._waiting[device].append(record)
        except KeyError:  # once a device and fold
            self._waiting[device] = [record]
        self._bytes += len(record.payload) + _RECORD_BYTES

    def is_due(self, now: float, *, at_once: bool = False) -> bool:
        """Whether to fold what waits, if anything does: ``at_once``, or when the oldest record has
        waited long enough; ``now`` is monotonic (s)."""
        return bool(self._bytes) and (at_once or now - self._since >= self._hot.fold_s)

    @property
    def is_full(self) -> bool:
        """Whether to fold now, because as much waits as may be held in memory."""
        return self._bytes >= FULL

    def fold(self) -> None:
        """Fold every waiting record. Afterwards all records that were added are final.

        Devices whose windows are all loaded are folded at once. Those of the others are read
        together, then these devices are folded.

        :raises StoreError, GaveUpError: when a window's item cannot be read, or the schemas.
        """
        if self._judge_for is not None and self._waiting:
            self._judge = self._judge_for(self._waiting.keys())
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        self._hot.begin_fold(self._since)
        self._folds += 1
        if self._folds % CROWDED_FOLDS == 0:
            self._crowded.clear()
        later: list[tuple[str, Sequence[ShardRecord], Sequence[Placed] | None]] = []
        unread: list[Where] = []
        for device, records in waiting.items():
            messages = self._read(records)
            if self._traces is not None:
                self._traces.on_read(device, records, messages)
            if self._on_message is not None:
                for message in messages:
                    if message is not None:
                        self._on_message(device, message.boot, message.seq, len(message.readings))
            if self._judge is not None and (n := self._judge.outside(device, records, messages)):
                self._stats.on_outside(device, n)
            placed = None
            if device not in self._crowded:
                placed = self._placed_as_runs(device, records, messages)
            if placed is None:
                unread += self._windows_of(device, records, messages)
                later.append((device, records, None))
            elif not _are_loaded(placed):
                unread += [(tier, window) for tier, window, _ in placed]
                later.append((device, records, placed))
            elif placed and not self._folded_as_runs(device, records, placed):
                self._fold_one_by_one(device, records)
        self._hot.load(unread)
        for device, taken, placed in later:
            if placed is None or not self._folded_as_runs(device, taken, placed):
                self._fold_one_by_one(device, taken)
        self._hot.hasten_decided()
        if self._traces is not None:
            self._traces.on_folded()

    def decoded(self, records: Sequence[ShardRecord]) -> Iterable[Message | Rejection]:
        """The records' messages, each decoded when it is asked for. A replay, whose records come
        from the archive, has them already."""
        return map(decode_raw, [record.payload for record in records])

    def _read(self, records: Sequence[ShardRecord]) -> Sequence[Message | None]:
        """A device's messages; ``None`` for a record that holds none, which becomes final here."""
        messages: list[Message | None] = []
        append = messages.append
        for record, message in zip(records, self.decoded(records), strict=True):
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

    def _placed_as_runs(
        self, device: str, records: Sequence[ShardRecord], messages: Sequence[Message | None]
    ) -> Sequence[Placed] | None:
        """A device's readings as runs with their windows, if all of them are acceptable."""
        try:
            received = [record.received_at for record in records]
            runs: list[Run] = []
            for stretch in _stretches(messages):
                runs += runs_of(stretch, self._hot.span)
            if not runs:
                return ()
            least = min(received) - max([run.newest for run in runs])
            greatest = max(received) - min([run.oldest for run in runs])
            self._stats.on_ages(device, least, greatest)
            tiers = self._lateness.tiers_of_all(least, greatest)
            if tiers is None:
                return None
            placed: list[Placed] = []
            if self._judge is not None and not self._judge.takes_all(device, records, runs):
                return None
            for run in runs:
                if not _is_in_range(run):
                    return None
                placed += self._hot.place(device, run, tiers)
        except Exception:  # noqa: BLE001  # the slow path meets it again, with its record
            return None
        return placed

    def _folded_as_runs(
        self, device: str, records: Sequence[ShardRecord], placed: Sequence[Placed]
    ) -> bool:
        """Fold a device's runs, whose windows are loaded, if all fit in; else change nothing."""
        try:
            if not _has_room_for_all(placed):
                self._crowded.add(device)
                return False
            self._hot.fold(device, placed, max([record.received_at for record in records]))
        except Exception:  # noqa: BLE001  # the slow path meets it again, with its record
            return False
        self._stats.count(OK, sum([record.readings for record in records]))
        return True

    def _windows_of(
        self, device: str, records: Sequence[ShardRecord], messages: Sequence[Message | None]
    ) -> Sequence[Where]:
        """The windows of a device's acceptable readings, each named once."""
        seen: dict[Window, Where] = {}
        for record, message in zip(records, messages, strict=True):
            for reading in message.readings if message else ():
                with contextlib.suppress(Exception):  # it is raised again where it is folded
                    for where in self._judged(device, record, reading)[0]:
                        seen[where[1]] = where
        return list(seen.values())

    def _fold_one_by_one(self, device: str, records: Sequence[ShardRecord]) -> None:
        """Fold a device's acceptable readings, and decide each one's disposition."""
        for record, message in zip(records, self.decoded(records), strict=True):
            if isinstance(message, Message):
                self._fold_record(device, record, message)

    def _fold_record(self, device: str, record: ShardRecord, message: Message) -> None:
        """Fold a record's acceptable readings into their windows, each judged after those before
        it.

        An unexpected exception is confined to its record, so that one poison message does not stop
        a fleet. Only the data can have caused it: the store is called outside of what is caught.
        """
        dispositions: list[Disposition] = []
        received_at = record.received_at
        judged: list[Judged] | None = None
        with contextlib.suppress(Exception):  # it is raised again below
            judged = [self._judged(device, record, reading) for reading in message.readings]
        if judged is not None:
            # Loaded already, unless an earlier record's fold was taken back.
            self._hot.load(where for windows, _ in judged for where in windows)

        def accepted() -> Iterator[Placed]:
            for index, reading in enumerate(message.readings):
                windows, disposition = (
                    judged[index] if judged else self._judged(device, record, reading)
                )
                seq = message.seq + index
                if disposition == OK and not _has_room_for_one(windows, message.boot, seq):
                    windows, disposition = (), "overflow"
                dispositions.append(disposition)
                if windows:
                    run = run_of_one(message.boot, seq, reading.ts, reading.metrics)
                    for tier, window in windows:
                        yield tier, window, run

        try:
            self._hot.fold(device, accepted(), received_at)
        except Exception:
            log.exception("a message of %s is archived as internal_error", device)
            dispositions = ["internal_error"] * record.readings
        record.dispositions = dispositions
        for disposition, readings in Counter(dispositions).items():
            self._stats.count(disposition, readings)
            if disposition != OK:
                self._stats.reject(device, disposition, record.payload, record.arrived_at, readings)

    def _judged(self, device: str, record: ShardRecord, reading: Reading) -> Judged:
        """A reading's windows, if its record's fields make it acceptable, and its disposition as
        far as they decide it."""
        disposition = self._lateness.disposition(reading, record.received_at)
        if disposition != OK:
            return (), disposition
        if self._judge is not None and self._judge.quarantines(
            device, record.arrived_at, reading.metrics
        ):
            return (), "quarantined"
        tiers = self._lateness.tiers(record.received_at - reading.ts)
        return self._hot.windows(device, reading.ts, tiers), OK


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


def _are_loaded(placed: Iterable[Placed]) -> bool:
    """Whether the stored items of all these windows have been read."""
    return all(window.loaded for _, window, _ in placed)


def _has_room_for_all(placed: Sequence[Placed]) -> bool:
    """Whether the windows, which are loaded, take all of the runs, in whatever order. When not,
    some reading of them may still find room."""
    growth = 0
    for _, _, run in placed:
        growth += run.growth()
    return all(window.weight() + growth < MAX_WEIGHT for _, window, _ in placed)


def _has_room_for_one(windows: Sequence[Where], boot: str, seq: int) -> bool:
    """Whether each of the windows, which are loaded, takes a reading."""
    return all(has_room(window, boot, seq) for _, window in windows)
