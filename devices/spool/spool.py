"""Readings on disk, from the moment that they are taken until they are acknowledged.

One SQLite file (WAL) a device. ``boot`` and the next ``seq`` live in it, and move in the same
transaction as the reading that they number, so whatever dies, a number is used for one reading.
A file that is copied, or put back from a backup, would use numbers twice; it is recognized by
what does not travel with it (:mod:`devices.spool.rollback_guard`) and goes on under a new ``boot``.

No clock and no network in here; not safe for threads.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from devices.spool.disk import Ballast, SpoolBusyError, check, lock
from devices.spool.rollback_guard import RollbackGuard
from ingest.message import VERSION, Content, Message, Reading, encode

__all__ = ["Batch", "Spool", "SpoolBusyError", "SpoolFullError", "SpoolLimits"]

FILE: Final = "spool.sqlite"
ROW_BYTES: Final = 48
"""What a reading takes beside its own bytes."""
RESERVED: Final = 100
Now = Callable[[], int]
"""The device's clock (ms since 1970)."""


class SpoolFullError(Exception):
    """A reading was not taken: there is no room for it. Everything before it is kept; a later
    one is taken when there is room again."""


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How much may wait: bytes of readings, and the age (s) of the oldest.

    ``when_full`` says what happens then: ``refuse`` new readings loudly, or ``drop_oldest``, which
    is counted. ``sync`` is whether each reading is on the disk before it counts as taken; without
    it a kill loses nothing, and a power cut may lose the newest readings and takes a new boot.
    """

    bytes: int = 64 * 1024 * 1024
    age_s: float = 30 * 86_400.0
    when_full: Literal["refuse", "drop_oldest"] = "refuse"
    sync: bool = True


class Batch(NamedTuple):
    """Consecutive readings of one boot. ``first`` and ``last`` are places in the spool."""

    first: int
    last: int
    boot: str
    seq: int
    readings: tuple[Reading, ...]

    def payload(self, content: Content = "json") -> bytes:
        """As a message of the contract; in JSON where only that is small enough to be sent."""
        message = Message(VERSION, self.boot, self.seq, list(self.readings))
        if content != "json":
            with contextlib.suppress(ValueError):
                return encode(message, content)
        return encode(message)


class Spool:
    """A device's spool, open. ``notice`` hears, in a sentence, of what was found at opening:
    a damaged file, a copied one, an unclean end that cost numbers."""

    def __init__(
        self,
        folder: Path,
        *,
        now: Now,
        limits: SpoolLimits | None = None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Open the folder's spool, or make one.

        :raises SpoolBusyError: when another process has it open.
        :raises SpoolFullError: when there is none and no room to make one.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / FILE
        self.limits = limits or SpoolLimits()
        self._now = now
        self._notice = notice
        self._guard = RollbackGuard(folder, self.path, sync=self.limits.sync)
        self._ballast = Ballast(folder)
        self._lock = lock(folder)
        self._undeleted: list[tuple[int, int]] = []
        self._boot, self._seq, self._next, self._reserved = "", 0, 1, 0
        self._count = self._bytes = self._dropped = 0
        try:
            self._db = self._open()
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
        """What new readings are numbered under."""
        return self._boot

    @property
    def seq(self) -> int:
        """The number of the next reading."""
        return self._seq

    @property
    def size(self) -> int:
        """Bytes that the waiting readings take."""
        return self._bytes

    @property
    def dropped(self) -> int:
        """Readings that were dropped for want of room, ever."""
        return self._dropped

    @property
    def end(self) -> int:
        """The place after the last reading."""
        return self._next

    def oldest_at(self) -> int | None:
        """When the oldest waiting reading was taken (ms)."""
        found = self._db.execute("SELECT taken_at FROM reading ORDER BY n LIMIT 1").fetchone()
        return None if found is None else int(found[0])

    def add(self, ts: int, metrics: Mapping[str, float | bool]) -> int:
        """Take a reading with this event time (ms), and number it; its place in the spool.

        :raises ValueError: when it breaks the contract; it is not numbered then.
        :raises SpoolFullError: when there is no room, or the disk is full.
        """
        reading = Reading(ts, dict(metrics))
        encode(Message(VERSION, self._boot, self._seq, [reading]))
        body = msgspec.json.encode(reading)
        size = len(body) + ROW_BYTES
        try:
            place = self._take(body, size)
        except sqlite3.DatabaseError as error:
            self._replace(error)
            place = self._take(body, size)
        self._count += 1
        self._bytes += size
        self._seq += 1
        self._next = place + 1
        return place

    def _take(self, body: bytes, size: int) -> int:
        with self._room_on_disk():
            self._make_room(size)
            self._reserve()
            return self._insert(body)

    def read(self, place: int, before: int, readings: int, size: int) -> Batch | None:
        """The first readings at or after a place and before another: of one boot, with
        consecutive numbers, at most so many and of at most ``size`` bytes together (one at
        least)."""
        try:
            return self._read(place, before, readings, size)
        except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
            self._replace(error)
            return None

    def _read(self, place: int, before: int, readings: int, size: int) -> Batch | None:
        rows = self._db.execute(
            "SELECT n, boot, seq, reading FROM reading WHERE n >= ? AND n < ? ORDER BY n LIMIT ?",
            (place, before, readings),
        )
        taken: list[Any] = []
        total = 0
        for row in rows:
            total += len(row[3]) + 1
            if taken and (
                total > size or row[1] != taken[0][1] or row[2] != taken[0][2] + len(taken)
            ):
                break
            taken.append(row)
        if not taken:
            return None
        decoded = tuple(msgspec.json.decode(row[3], type=Reading) for row in taken)
        return Batch(taken[0][0], taken[-1][0], taken[0][1], taken[0][2], decoded)

    def delete(self, first: int, last: int) -> None:
        """Forget what is acknowledged. When even that finds no room on the disk it is done with
        a later call: at worst a reading is sent again, which changes nothing."""
        self._undeleted.append((first, last))
        with contextlib.suppress(SpoolFullError), self._room_on_disk():
            self._delete_all()

    def delete_ids(self, boot: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Forget readings by identity, in inclusive ranges of numbers; how many there were."""
        places = [
            row
            for low, high in ranges
            for row in self._db.execute(
                "SELECT n, n FROM reading WHERE boot = ? AND seq BETWEEN ? AND ?", (boot, low, high)
            )
        ]
        before = self._count
        self._undeleted += places
        with contextlib.suppress(SpoolFullError), self._room_on_disk():
            self._delete_all()
        return before - self._count

    def close(self) -> None:
        """Close the file; everything in it stays."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        os.close(self._lock)

    # -- opening ---------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            db = self._connect()
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
                raise SpoolFullError(f"the spool {self.path} cannot be opened: {error}") from None
            self._set_aside(error)
            db = self._connect()
        return db

    def _replace(self, error: Exception) -> None:
        """The open file turned out to be damaged."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._set_aside(error)
        self._undeleted = []
        place = self._next
        self._db = self._connect()
        self._next = max(self._next, place)  # places are never used twice

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, timeout=5.0)
        try:
            db.execute("PRAGMA page_size=1024")  # a reading is small, and flash wears out
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA wal_autocheckpoint=256")
            db.execute("PRAGMA journal_size_limit=262144")
            db.execute(f"PRAGMA synchronous={'FULL' if self.limits.sync else 'NORMAL'}")
            db.execute("PRAGMA cache_size=-64")
            check(db)
            self._load(db)
        except BaseException:
            db.close()
            raise
        return db

    def _load(self, db: sqlite3.Connection) -> None:
        """Where the last process left off, unless this file is not the one that it left."""
        state = dict(db.execute("SELECT key, value FROM state"))
        count, size, last = db.execute(
            "SELECT count(*), total(length(reading)), max(n) FROM reading"
        ).fetchone()
        self._count, self._bytes = count, int(size) + count * ROW_BYTES
        self._next = max(int(state.get("next", 1)), (last or 0) + 1)
        self._dropped = int(state.get("dropped", 0))
        self._boot, self._seq = str(state.get("boot", "")), int(state.get("seq", 0))
        self._reserved = int(state.get("reserved", 0))
        sessions = (state.get("session", ""), state.get("before", ""))
        doubt = self._guard.doubt(sessions, self._reserved) if self._boot else None
        if doubt:
            self._notice(f"the spool {self.path} {doubt}: it goes on under a new boot")
        if doubt or not self._boot:
            self._boot, self._seq, self._reserved = secrets.token_hex(8), 0, 0
        session = secrets.token_hex(8)
        values = {"boot": self._boot, "seq": self._seq, "reserved": self._reserved,
                  "session": session, "before": "" if doubt else sessions[0],
                  "next": self._next, "dropped": self._dropped}  # fmt: skip
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", values.items())
        db.execute("COMMIT")
        self._guard.write(session, self._reserved)
        self._ballast.fill()

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{self._now()}")
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        self._notice(
            f"the spool {self.path} is damaged ({error}): it is kept as {aside.name}, and a new "
            "one begins under a new boot"
        )

    # -- writing ---------------------------------------------------------------------------

    def _insert(self, body: bytes) -> int:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "INSERT INTO reading VALUES (?, ?, ?, ?, ?)",
            (self._next, self._boot, self._seq, self._now(), body),
        )
        self._db.execute("UPDATE state SET value = ? WHERE key = 'seq'", (self._seq + 1,))
        self._db.execute("UPDATE state SET value = ? WHERE key = 'next'", (self._next + 1,))
        self._db.execute("COMMIT")
        return self._next

    def _reserve(self) -> None:
        """Say outside of the file, too, how far its numbers have come: file first, so that a file
        that says less than the guard was put back."""
        if self._seq < self._reserved:
            return
        reserved = self._seq + RESERVED
        self._db.execute("UPDATE state SET value = ? WHERE key = 'reserved'", (reserved,))
        self._reserved = reserved
        self._guard.reserve(reserved)

    def _make_room(self, size: int) -> None:
        oldest = self.oldest_at() if self._count else None
        aged = oldest is not None and self._now() - oldest > self.limits.age_s * 1000
        if self._bytes + size <= self.limits.bytes and not aged:
            return
        if self.limits.when_full == "refuse":
            why = (
                f"its oldest reading waits for more than {self.limits.age_s:.0f} s"
                if aged
                else f"{self._bytes} of {self.limits.bytes} bytes wait"
            )
            raise SpoolFullError(f"the spool {self.path} is full ({why}): a reading is refused")
        self._drop(size)

    def _drop(self, size: int) -> None:
        oldest_allowed = self._now() - int(self.limits.age_s * 1000)
        dropped = 0
        freed = 0
        last = 0
        for n, taken_at, length in self._db.execute(
            "SELECT n, taken_at, length(reading) FROM reading ORDER BY n"
        ):
            fits = self._bytes - freed + size <= self.limits.bytes
            if fits and taken_at >= oldest_allowed:
                break
            last, dropped, freed = n, dropped + 1, freed + length + ROW_BYTES
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM reading WHERE n <= ?", (last,))
        self._db.execute(
            "UPDATE state SET value = ? WHERE key = 'dropped'", (self._dropped + dropped,)
        )
        self._db.execute("COMMIT")
        self._count -= dropped
        self._bytes -= freed
        self._dropped += dropped

    def _delete_all(self) -> None:
        places = self._undeleted
        self._db.execute("BEGIN IMMEDIATE")
        count = size = 0
        for first, last in places:
            found = self._db.execute(
                "SELECT count(*), total(length(reading)) FROM reading WHERE n BETWEEN ? AND ?",
                (first, last),
            ).fetchone()
            self._db.execute("DELETE FROM reading WHERE n BETWEEN ? AND ?", (first, last))
            count, size = count + found[0], size + int(found[1])
        self._db.execute("COMMIT")
        self._undeleted = []
        self._count -= count
        self._bytes -= size + count * ROW_BYTES

    @contextlib.contextmanager
    def _room_on_disk(self) -> Iterator[None]:
        """Whatever the disk refuses is undone, and becomes :class:`SpoolFullError`; the ballast
        goes then, so that a deletion finds room."""
        try:
            if self._undeleted and not self._ballast.there:
                self._delete_all()
            yield
            if not self._ballast.there:
                self._ballast.fill()
        except (sqlite3.OperationalError, OSError) as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            self._ballast.give_up()
            raise SpoolFullError(
                f"the disk does not take more for the spool {self.path} ({error}): what is in it "
                "is kept, new readings are refused until there is room"
            ) from None
