"""A spool's SQLite file: the waiting readings and the state of the numbering.

Only SQL: what to store, delete or drop is decided in :mod:`devices.spool.spool`. Every method may
raise :class:`sqlite3.Error`; ``OperationalError`` means that the disk refuses, any other
``DatabaseError`` that the file is damaged.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

ROW_BYTES: Final = 48
"""What a reading takes on disk beside its own bytes."""
_WAL_BYTES: Final = 256 * 1024
_SCHEMA: Final = """
CREATE TABLE state (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE reading (
    n INTEGER PRIMARY KEY,
    boot TEXT NOT NULL,
    seq INTEGER NOT NULL,
    taken_at INTEGER NOT NULL,
    reading BLOB NOT NULL
);
"""


class Row(NamedTuple):
    """A waiting reading: its position in the spool, its identity, and the reading as JSON."""

    position: int
    boot: str
    seq: int
    reading: bytes


class Totals(NamedTuple):
    """How many readings wait, their size (bytes, :data:`ROW_BYTES` each included), and the last
    position that is used."""

    readings: int
    bytes: int
    last: int


class SpoolDatabase:
    """The open file."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        """Open the file, and create the tables in a new one. With ``sync`` each transaction is on
        the disk when it ends."""
        self.db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        try:
            self._configure(sync)
            self._check()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):
            self.db.close()

    def state(self) -> dict[str, Any]:
        """The state of the numbering, as :meth:`write_state` wrote it."""
        return dict(self.db.execute("SELECT key, value FROM state"))

    def write_state(self, values: Mapping[str, Any]) -> None:
        """Replace these values of the state, in one transaction."""
        with self._transaction():
            self.db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", values.items())

    def totals(self) -> Totals:
        """Count and size of what waits."""
        count, size, last = self.db.execute(
            "SELECT count(*), total(length(reading)), max(n) FROM reading"
        ).fetchone()
        return Totals(count, int(size) + count * ROW_BYTES, last or 0)

    def oldest_at(self) -> int | None:
        """When the oldest waiting reading was stored (ms)."""
        found = self.db.execute("SELECT taken_at FROM reading ORDER BY n LIMIT 1").fetchone()
        return None if found is None else int(found[0])

    def insert(self, row: Row, taken_at: int) -> None:
        """Store a reading, and move the next position and number past it."""
        with self._transaction():
            self.db.execute(
                "INSERT INTO reading VALUES (?, ?, ?, ?, ?)",
                (row.position, row.boot, row.seq, taken_at, row.reading),
            )
            self._set("seq", row.seq + 1)
            self._set("next", row.position + 1)

    def rows(self, position: int, before: int, limit: int) -> Iterator[Row]:
        """Waiting readings from ``position`` on and before another, in order."""
        found = self.db.execute(
            "SELECT n, boot, seq, reading FROM reading WHERE n >= ? AND n < ? ORDER BY n LIMIT ?",
            (position, before, limit),
        )
        return map(Row._make, found)

    def positions(self, boot: str, first: int, last: int) -> list[tuple[int, int]]:
        """Ranges of positions that hold these numbers of a boot."""
        return list(
            self.db.execute(
                "SELECT n, n FROM reading WHERE boot = ? AND seq BETWEEN ? AND ?",
                (boot, first, last),
            )
        )

    def delete(self, ranges: Sequence[tuple[int, int]]) -> Totals:
        """Delete inclusive ranges of positions, in one transaction; what was deleted."""
        count = size = 0
        with self._transaction():
            for first, last in ranges:
                found = self.db.execute(
                    "SELECT count(*), total(length(reading)) FROM reading WHERE n BETWEEN ? AND ?",
                    (first, last),
                ).fetchone()
                self.db.execute("DELETE FROM reading WHERE n BETWEEN ? AND ?", (first, last))
                count, size = count + found[0], size + int(found[1])
        return Totals(count, size + count * ROW_BYTES, 0)

    def drop(self, excess: int, older_than: int, dropped: int) -> Totals:
        """Delete the oldest readings until at least ``excess`` bytes are free and none is left
        that was stored before ``older_than`` (ms); what was deleted. ``dropped`` is the number of
        readings that were dropped before, which is kept in the state."""
        count = freed = last = 0
        for n, taken_at, length in self.db.execute(
            "SELECT n, taken_at, length(reading) FROM reading ORDER BY n"
        ):
            if freed >= excess and taken_at >= older_than:
                break
            last, count, freed = n, count + 1, freed + length + ROW_BYTES
        with self._transaction():
            self.db.execute("DELETE FROM reading WHERE n <= ?", (last,))
            self._set("dropped", dropped + count)
        return Totals(count, freed, last)

    def reserve(self, number: int) -> None:
        """Store that numbers below this one may be used."""
        self._set("reserved", number)

    def rollback(self) -> None:
        """Undo an unfinished transaction."""
        with contextlib.suppress(sqlite3.Error):
            self.db.execute("ROLLBACK")

    def _configure(self, sync: bool) -> None:
        self.db.execute("PRAGMA page_size=1024")  # a reading is small, and flash wears out
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA wal_autocheckpoint=256")
        self.db.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
        self.db.execute(f"PRAGMA synchronous={'FULL' if sync else 'NORMAL'}")
        self.db.execute("PRAGMA cache_size=-64")

    def _check(self) -> None:
        found = self.db.execute("PRAGMA quick_check(1)").fetchone()
        if found[0] != "ok":
            raise sqlite3.DatabaseError(found[0])
        if not self.db.execute("SELECT 1 FROM sqlite_master WHERE name = 'reading'").fetchone():
            self.db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")

    def _set(self, key: str, value: int) -> None:
        self.db.execute("UPDATE state SET value = ? WHERE key = ?", (value, key))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        yield
        self.db.execute("COMMIT")


def count_waiting(path: Path) -> int:
    """How many readings wait in a spool's file, without opening the spool; 0 when there is none
    or it is damaged."""
    if not path.exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
            return int(db.execute("SELECT count(*) FROM reading").fetchone()[0])
    except sqlite3.Error:
        return 0
