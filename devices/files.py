"""Writes a device's files whole or not at all, on the disk before the next step, and says in a
sentence why the disk refuses.

After a power cut a disk holds what was synced: a file's content by ``fsync`` of the file, its name
(new, changed or gone) by ``fsync`` of the folder.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from devices.errors import StorageError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_FOR_FOLDERS: Final = frozenset({errno.EINVAL, errno.ENOTSUP})
_LITTLE_BYTES: Final = 64 * 1024


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replace a file: whole, on the disk when this returns (content and name), and with this mode
    from its first moment.

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
        sync_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {why_refused(path, error)}") from None


def make_folder(folder: Path) -> None:
    """Create a folder that only its owner can read (mode 0700), or make it so; its name is on the
    disk when this returns.

    :raises StorageError: when the disk refuses.
    """
    try:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        for one in missing or [folder]:
            sync_folder(one.parent)
    except OSError as error:
        why = why_refused(folder, error)
        raise StorageError(f"the folder {folder} cannot be created: {why}") from None


def remove_files(folder: Path, *names: str) -> None:
    """Remove files, where they exist, in one step: whatever comes after this finds them gone.

    :raises StorageError: when the disk refuses.
    """
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        if folder.exists():
            sync_folder(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be changed: {why_refused(folder, error)}") from None


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a power cut. A file system that has no such call keeps
    them by itself.

    :raises OSError: when the disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(descriptor)


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
