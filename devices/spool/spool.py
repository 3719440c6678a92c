"""Readings on disk, from the moment that they are stored until they are acknowledged.

One SQLite file (WAL) a device. ``boot`` and the next ``seq`` are in it and move in the same
transaction as the reading that they number, so a number is used for one reading, whatever process
or machine stops. A file that was copied or restored from a backup would use numbers twice:
:mod:`devices.spool.rollback_guard` detects that, and new readings get a new ``boot``.

No clock and no network. Not thread-safe.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from devices.errors import SpoolFullError
from devices.events import OnEvent, SpoolReset, log_event
from devices.files import why_refused
from devices.spool.batch import Batch, first_batch
from devices.spool.database import ROW_BYTES, Row, SpoolDatabase
from devices.spool.disk import Ballast, lock
from devices.spool.rollback_guard import RollbackGuard
from ingest.message import VERSION, Message, Reading, encode

FILE: Final = "spool.sqlite"
RESERVED: Final = 100
"""How many numbers are reserved at once outside of the file."""
Now = Callable[[], int]
"""The device's clock (ms since 1970)."""


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How much may wait: ``bytes`` of readings, and ``age_s``, the age (s) of the oldest.

    ``when_full``: ``refuse`` raises :class:`~devices.errors.SpoolFullError` for a new reading,
    ``drop_oldest`` deletes and counts the oldest. ``sync``: whether a reading is on the disk when
    it counts as stored. Without it a kill loses nothing, and a power cut may lose the newest
    readings and takes a new boot.
    """

    bytes: int = 64 * 1024 * 1024
    age_s: float = 30 * 86_400.0
    when_full: Literal["refuse", "drop_oldest"] = "refuse"
    sync: bool = True


class Spool:
    """A device's spool, open. A context manager, which closes it."""

    def __init__(
        self,
        folder: Path,
        *,
        now: Now,
        limits: SpoolLimits | None = None,
        on_event: OnEvent = log_event,
    ) -> None:
        """Open the folder's spool, or create one. ``on_event`` receives a
        :class:`~devices.events.SpoolReset` when the file is damaged, copied or restored.

        :raises SpoolBusyError: when another process has it open.
        :raises SpoolFullError: when there is none and no room to create one.
        """
        self.path = folder / FILE
        self.limits = limits or SpoolLimits()
        self._now = now
        self._on_event = on_event
        self._guard = RollbackGuard(folder, self.path, sync=self.limits.sync)
        self._ballast = Ballast(folder)
        self._undeleted: list[tuple[int, int]] = []
        self._boot, self._seq, self._next, self._reserved = "", 0, 1, 0
        self._count = self._bytes = self._dropped = 0
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = lock(folder)
        except OSError as error:
            raise self._not_opened(error) from None
        try:
            self._database = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    @property
    def boot(self) -> str:
        """The boot of new readings."""
        return self._boot

    @property
    def seq(self) -> int:
        """The number of the next reading."""
        return self._seq

    @property
    def size(self) -> int:
        """Size of the waiting readings (bytes)."""
        return self._bytes

    @property
    def dropped(self) -> int:
        """How many readings were dropped for lack of room since the spool was created."""
        return self._dropped

    @property
    def end(self) -> int:
        """The position after the last reading."""
        return self._next

    def oldest_at(self) -> int | None:
        """When the oldest waiting reading was stored (ms)."""
        return self._database.oldest_at()

    def add(self, ts: int, metrics: Mapping[str, float | bool]) -> int:
        """Store and number a reading with this event time (ms); its position in the spool.

        :raises ValueError: when it breaks the contract; it is not numbered then.
        :raises SpoolFullError: when the spool or the disk is full.
        """
        reading = Reading(ts, dict(metrics))
        encode(Message(VERSION, self._boot, self._seq, [reading]))
        body = msgspec.json.encode(reading)
        size = len(body) + ROW_BYTES
        try:
            position = self._store(body, size)
        except sqlite3.DatabaseError as error:
            self._replace(error)
            position = self._store(body, size)
        self._count += 1
        self._bytes += size
        self._seq += 1
        self._next = position + 1
        return position

    def read(self, position: int, before: int, readings: int, size: int) -> Batch | None:
        """The first readings from ``position`` on and before another position: of one boot, with
        consecutive numbers, at most ``readings`` of them with at most ``size`` bytes together (at
        least one). ``None`` when there is none."""
        try:
            rows = self._database.rows(position, before, readings)
            return first_batch(rows, size)
        except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
            self._replace(error)
            return None

    def delete(self, first: int, last: int) -> None:
        """Delete acknowledged readings, by position, both included. When the disk has no room for
        that, a later call does it: at worst a reading is sent again, which changes nothing."""
        self._undeleted.append((first, last))
        self._delete_if_possible()

    def delete_ids(self, boot: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Delete readings by identity, in inclusive ranges of numbers; how many there were."""
        before = self._count
        for first, last in ranges:
            self._undeleted += self._database.positions(boot, first, last)
        self._delete_if_possible()
        return before - self._count

    def close(self) -> None:
        """Close the file; its readings stay."""
        self._database.close()
        os.close(self._lock)

    # -- opening ---------------------------------------------------------------------------

    def _open(self) -> SpoolDatabase:
        try:
            try:
                return self._load()
            except (sqlite3.DatabaseError, ValueError, TypeError) as error:
                if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
                    raise
                self._set_aside(error)
                return self._load()
        except (sqlite3.OperationalError, OSError) as error:
            if not self._ballast.exists:
                raise self._not_opened(error) from None
        self._ballast.release()  # with its room, what waits can be sent and deleted
        try:
            return self._load()
        except (sqlite3.OperationalError, OSError) as error:
            raise self._not_opened(error) from None

    def _not_opened(self, error: OSError | sqlite3.Error) -> SpoolFullError:
        why = why_refused(self.path, error)
        return SpoolFullError(f"the spool {self.path} cannot be opened: {why}")

    def _replace(self, error: Exception) -> None:
        """Continue with a new file: the open one turned out to be damaged."""
        self._database.close()
        self._set_aside(error)
        self._undeleted = []
        position = self._next
        self._database = self._load()
        self._next = max(self._next, position)  # positions are never used twice

    def _load(self) -> SpoolDatabase:
        database = SpoolDatabase(self.path, sync=self.limits.sync)
        try:
            self._continue_numbering(database)
        except BaseException:
            database.close()
            raise
        return database

    def _continue_numbering(self, database: SpoolDatabase) -> None:
        """Continue after the last process, under a new boot when this is not the file that it
        left."""
        state = database.state()
        self._count, self._bytes, last = database.totals()
        self._next = max(int(state.get("next", 1)), last + 1)
        self._dropped = int(state.get("dropped", 0))
        self._boot, self._seq = str(state.get("boot", "")), int(state.get("seq", 0))
        self._reserved = int(state.get("reserved", 0))
        sessions = (state.get("session", ""), state.get("before", ""))
        changed = self._guard.reason_to_renumber(sessions, self._reserved) if self._boot else None
        if changed:
            self._on_event(SpoolReset(str(self.path), f"{changed}: new readings get a new boot"))
        if changed or not self._boot:
            self._boot, self._seq, self._reserved = secrets.token_hex(8), 0, 0
        session = secrets.token_hex(8)
        values = {"boot": self._boot, "seq": self._seq, "reserved": self._reserved,
                  "session": session, "before": "" if changed else sessions[0],
                  "next": self._next, "dropped": self._dropped}  # fmt: skip
        database.write_state(values)
        self._guard.write(session, self._reserved)
        self._ballast.fill()

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{self._now()}")
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        reason = f"is damaged ({error}): it is kept as {aside.name}, new readings get a new boot"
        self._on_event(SpoolReset(str(self.path), reason))

    # -- writing ---------------------------------------------------------------------------

    def _store(self, body: bytes, size: int) -> int:
        with self._room_on_disk():
            self._make_room(size)
            self._reserve()
            row = Row(self._next, self._boot, self._seq, body)
            self._database.insert(row, self._now())
            return row.position

    def _reserve(self) -> None:
        """Store outside of the file too how far its numbers are used. The file first: a file with
        fewer reserved numbers than the guard was restored."""
        if self._seq < self._reserved:
            return
        reserved = self._seq + RESERVED
        self._database.reserve(reserved)
        self._reserved = reserved
        self._guard.reserve(reserved)

    def _make_room(self, size: int) -> None:
        limits = self.limits
        oldest_allowed = self._now() - int(limits.age_s * 1000)
        oldest = self._database.oldest_at() if self._count else None
        aged = oldest is not None and oldest < oldest_allowed
        excess = self._bytes + size - limits.bytes
        if excess <= 0 and not aged:
            return
        if limits.when_full == "refuse":
            why = (
                f"its oldest reading waits for more than {limits.age_s:.0f} s"
                if aged
                else f"{self._bytes} of {limits.bytes} bytes wait"
            )
            raise SpoolFullError(f"the spool {self.path} is full ({why}): a reading is refused")
        gone = self._database.drop(excess, oldest_allowed, self._dropped)
        self._count -= gone.readings
        self._bytes -= gone.bytes
        self._dropped += gone.readings

    def _delete_if_possible(self) -> None:
        with contextlib.suppress(SpoolFullError), self._room_on_disk():
            self._delete_undeleted()

    def _delete_undeleted(self) -> None:
        gone = self._database.delete(self._undeleted)
        self._undeleted = []
        self._count -= gone.readings
        self._bytes -= gone.bytes

    @contextlib.contextmanager
    def _room_on_disk(self) -> Iterator[None]:
        """Roll back what the disk refuses, release the ballast, and raise
        :class:`SpoolFullError`. A later deletion finds the room of the ballast."""
        try:
            if self._undeleted and not self._ballast.exists:
                self._delete_undeleted()
            yield
            if not self._ballast.exists:
                self._ballast.fill()
        except (sqlite3.OperationalError, OSError) as error:
            self._database.rollback()
            self._ballast.release()
            raise SpoolFullError(
                f"the disk does not take more for the spool {self.path} "
                f"({why_refused(self.path, error)}): its readings are kept, new ones are refused "
                "until there is room"
            ) from None
