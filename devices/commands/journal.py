"""Which commands a device has begun and ended, in an SQLite file beside its spool.

A command's id is on the disk before its handler is called, so a program that dies meanwhile does
not call it again. An id is kept until the command has been expired for :data:`KEPT_S` by AWS IoT's
clock, which never goes back: a repeat that comes after that is judged expired, however wrong the
device's own clock is. Every method may raise :class:`sqlite3.Error`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from ingest.commands.command import Outcome

FILE: Final = "commands.db"
DAMAGED: Final = "commands.damaged"
MOST_KEPT: Final = 1000
KEPT_S: Final = 3600.0
INTERRUPTED: Final = "the program ended while it did this: whether it took effect is not known"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS command (
    id TEXT PRIMARY KEY, until INTEGER NOT NULL, outcome BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, ms INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO state VALUES ('clock', 0), ('lost', 0);
"""


class Journal:
    """The open file. What had begun and not ended when it was closed has failed: whether it took
    effect is not known."""

    def __init__(self, path: Path, now_ms: int) -> None:
        """Open the file, and make it if there is none.

        :param now_ms: AWS IoT's clock.
        """
        try:
            self._open(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._db.close()
            path.replace(path.with_name(DAMAGED))
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._open(path)
            self._db.execute("UPDATE state SET ms = ? WHERE key = 'lost'", (now_ms,))
        interrupted = msgspec.json.encode(Outcome("FAILED", now_ms, INTERRUPTED))
        self._db.execute("UPDATE command SET outcome = ? WHERE outcome IS NULL", (interrupted,))

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    @property
    def clock_ms(self) -> int:
        """AWS IoT's clock when ids were last forgotten: it is later now."""
        return self._state("clock")

    @property
    def lost_ms(self) -> int:
        """When the file was found damaged: what became of commands that were sent before is not
        known. 0 when it never was."""
        return self._state("lost")

    @property
    def has_room(self) -> bool:
        """Whether another id fits."""
        count: int = self._db.execute("SELECT count(*) FROM command").fetchone()[0]
        return count < MOST_KEPT

    def outcome(self, id_: str) -> Outcome | None:
        """How a command ended; ``None`` when it is not known, or has begun and not ended."""
        row = self._db.execute("SELECT outcome FROM command WHERE id = ?", (id_,)).fetchone()
        return None if row is None or row[0] is None else msgspec.json.decode(row[0], type=Outcome)

    def begin(self, id_: str, until: int) -> None:
        """A command that is not known is about to be done; ``until`` is its deadline (ms)."""
        self._db.execute("INSERT INTO command VALUES (?, ?, NULL)", (id_, until))

    def end(self, id_: str, until: int, outcome: Outcome) -> None:
        """A command has ended so, whether it had begun or not."""
        self._db.execute(
            "INSERT INTO command VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET outcome = excluded.outcome",
            (id_, until, msgspec.json.encode(outcome)),
        )

    def forget(self, clock_ms: int, waiting: Collection[str]) -> None:
        """Forget the ids of commands that expired long before AWS IoT's clock; not of those that
        wait in the shadow still, because it has not taken the answer yet."""
        before = clock_ms - round(KEPT_S * 1000)
        ended = self._db.execute(
            "SELECT id FROM command WHERE until < ? AND outcome IS NOT NULL", (before,)
        )
        gone = [(id_,) for (id_,) in ended if id_ not in waiting]
        if not gone:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("DELETE FROM command WHERE id = ?", gone)
            self._db.execute("UPDATE state SET ms = max(ms, ?) WHERE key = 'clock'", (clock_ms,))
        finally:
            self._db.execute("COMMIT")

    def _state(self, key: str) -> int:
        row = self._db.execute("SELECT ms FROM state WHERE key = ?", (key,)).fetchone()
        return int(row[0])

    def _open(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        self._db.execute("PRAGMA page_size=1024")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found[0] != "ok":
            raise sqlite3.DatabaseError(found[0])
        self._db.executescript(_SCHEMA)
