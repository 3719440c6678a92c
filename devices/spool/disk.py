"""What a spool keeps beside its database: a lock, and a ballast file for a full disk."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from devices.errors import SpoolBusyError

LOCK: Final = "spool.lock"
BALLAST: Final = "spool.ballast"
BALLAST_BYTES: Final = 256 * 1024


class Ballast:
    """A file that is deleted when the disk is full, so that acknowledged readings can be deleted:
    SQLite needs room in its write-ahead log for that."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / BALLAST

    @property
    def exists(self) -> bool:
        """Whether there is room to release."""
        return self._path.exists()

    def fill(self) -> None:
        """Create the file, if the disk has room for it."""
        if self.exists:
            return
        draft = self._path.with_name(f"{BALLAST}.draft")
        try:
            draft.write_bytes(b"\0" * BALLAST_BYTES)
            draft.replace(self._path)
        except OSError:
            draft.unlink(missing_ok=True)

    def release(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)


def lock(folder: Path) -> int:
    """A descriptor that holds the folder's spool for this process until it is closed.

    :raises SpoolBusyError: when another process holds it.
    :raises OSError: when the lock file cannot be created.
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
