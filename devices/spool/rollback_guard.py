"""What tells that a spool's file is not the one that this device left.

Kept in a file beside the spool: the spool's inode, the machine, the session that opened it last,
and how far its numbers were reserved. A copy has another inode, a clone of the disk another
machine; a file that was put back knows an older session or fewer numbers. When the readings
are not synced one by one, a restart of the machine counts as well: its newest numbers may be lost.

What it cannot see is a whole machine that was put back to an earlier moment, guard included.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

FILE: Final = "spool.guard"
_MACHINE: Final = Path("/etc/machine-id")
_START: Final = Path("/proc/sys/kernel/random/boot_id")


class _Words(msgspec.Struct):
    inode: int
    machine: str
    start: str
    session: str
    reserved: int


class RollbackGuard:
    """The guard of one spool."""

    def __init__(self, folder: Path, spool: Path, *, sync: bool) -> None:
        self._path = folder / FILE
        self._spool = spool
        self._sync = sync
        self._session = ""

    def doubt(self, sessions: tuple[str, str], reserved: int) -> str | None:
        """Why a spool with these words must not go on numbering, or ``None``. ``sessions`` are
        its last one and that before, which the guard still has after a kill in between."""
        try:
            words = msgspec.json.decode(self._path.read_bytes(), type=_Words)
        except FileNotFoundError:
            return "has no guard beside it"
        except (OSError, msgspec.MsgspecError):
            return "has a damaged witness"
        if words.machine != _text(_MACHINE):
            return "comes from another machine"
        if words.inode != self._spool.stat().st_ino:
            return "is a copy"
        if words.session not in sessions or words.reserved > reserved:
            return "was put back from an earlier time"
        if not self._sync and words.start != _text(_START):
            return "was not synced when the machine stopped"
        return None

    def write(self, session: str, reserved: int) -> None:
        """Begin a session."""
        self._session = session
        words = _Words(self._spool.stat().st_ino, _text(_MACHINE), _text(_START), session, reserved)
        draft = self._path.with_name(f"{FILE}.draft")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(words))
            if self._sync:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(self._path)

    def reserve(self, reserved: int) -> None:
        """Numbers below this may be used now."""
        self.write(self._session, reserved)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
