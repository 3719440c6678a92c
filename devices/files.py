"""Writes a device's files whole or not at all, and says in a sentence why the disk refuses."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from devices.errors import StorageError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_LITTLE_BYTES: Final = 64 * 1024


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replace a file: whole, on the disk when this returns, and with this mode from its first
    moment.

    :raises StorageError: when the disk is full or refuses otherwise; the old file stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {why_refused(path, error)}") from None


def make_folder(folder: Path) -> None:
    """Create a folder that only its owner can read (mode 0700), or make it so.

    :raises StorageError: when the disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        why = why_refused(folder, error)
        raise StorageError(f"the folder {folder} cannot be created: {why}") from None


def why_refused(path: Path, error: OSError | sqlite3.Error) -> str:
    """Why the disk refused to write ``path``. SQLite reports a full disk as "disk I/O error" when
    its write-ahead log finds no room, so the free space is looked at."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return "the disk is full: free some space, then try again"
    if isinstance(error, sqlite3.Error) and ("full" in str(error) or _free(path) < _LITTLE_BYTES):
        return "the disk is full: free some space, then try again"
    if isinstance(error, OSError):
        return f"{error.strerror or error}"
    return str(error)


def _free(path: Path) -> int:
    for folder in path.parents:
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return _LITTLE_BYTES
