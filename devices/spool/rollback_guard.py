"""Detects a spool file that was copied or restored from a backup.

A file beside the spool holds what does not travel with a copy: the spool's inode, the machine, the
session that opened it last, and how far its numbers were reserved. A copy has another inode, a
cloned disk another machine; a restored file knows an older session or fewer numbers. When the
readings are not synced one by one, a restart of the machine counts too: it may have lost the
newest numbers.

Not detected: a whole machine that was restored to an earlier moment, guard included.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

FILE: Final = "spool.guard"
_MACHINE: Final = Path("/etc/machine-id")
_START: Final = Path("/proc/sys/kernel/random/boot_id")


class _State(msgspec.Struct):
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

    def reason_to_renumber(self, sessions: tuple[str, str], reserved: int) -> str | None:
        """Why a spool must not continue its numbers; ``None`` when it may.

        ``sessions`` are the last session in the spool and the one before, which the guard still
        has after a kill between the two writes; ``reserved`` is the spool's reserved number.
        """
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=_State)
        except FileNotFoundError:
            return f"has no {FILE} beside it"
        except (OSError, msgspec.MsgspecError):
            return f"has a damaged {FILE}"
        if state.machine != _text(_MACHINE):
            return "comes from another machine"
        if state.inode != self._spool.stat().st_ino:
            return "is a copy"
        if state.session not in sessions or state.reserved > reserved:
            return "was restored from an earlier time"
        if not self._sync and state.start != _text(_START):
            return "was not synced when the machine stopped"
        return None

    def write(self, session: str, reserved: int) -> None:
        """Begin a session.

        :raises OSError: when the disk has no room.
        """
        self._session = session
        state = _State(self._spool.stat().st_ino, _text(_MACHINE), _text(_START), session, reserved)
        draft = self._path.with_name(f"{FILE}.draft")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(state))
            if self._sync:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(self._path)

    def reserve(self, reserved: int) -> None:
        """Store that numbers below ``reserved`` may be used.

        :raises OSError: when the disk has no room.
        """
        self.write(self._session, reserved)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
