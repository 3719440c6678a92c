"""What a spool has of the disk beside its rows: the tables, a lock, and room for hard times."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

LOCK: Final = "spool.lock"
BALLAST: Final = "spool.ballast"
BALLAST_BYTES: Final = 256 * 1024
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


class SpoolBusyError(Exception):
    """Another process has this spool open."""


class Ballast:
    """A file beside the spool that is given up when the disk is full, so that what is
    acknowledged can still be deleted: that needs room in the write-ahead log first."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / BALLAST

    @property
    def there(self) -> bool:
        """Whether there is room to give up."""
        return self._path.exists()

    def fill(self) -> None:
        """Take the room again, if there is any."""
        if self.there:
            return
        draft = self._path.with_name(f"{BALLAST}.draft")
        try:
            draft.write_bytes(b"\0" * BALLAST_BYTES)
            draft.replace(self._path)
        except OSError:
            draft.unlink(missing_ok=True)

    def give_up(self) -> None:
        """Free the room."""
        self._path.unlink(missing_ok=True)


def check(db: sqlite3.Connection) -> None:
    """Make the tables where there are none.

    :raises sqlite3.DatabaseError: when the file is damaged.
    """
    found = db.execute("PRAGMA quick_check(1)").fetchone()
    if found[0] != "ok":
        raise sqlite3.DatabaseError(found[0])
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'reading'").fetchone():
        db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")


def lock(folder: Path) -> int:
    """A descriptor that keeps the folder's spool for this process until it is closed.

    :raises SpoolBusyError: when another process has it.
    """
    path = folder / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise SpoolBusyError(
            f"another process has the spool in {path.parent} open: a device runs once"
        ) from None
    return descriptor
