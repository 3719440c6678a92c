"""``.penstock/stack.json``: how other terminals find the local stack that is up.

The process that holds the stack holds a lock beside it for as long as it lives. So a file that
a killed process left is not taken for a stack, and two cannot start in one folder.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

HOME: Final = Path(".penstock")
RUNFILE: Final = HOME / "stack.json"
_LOCK: Final = HOME / "stack.lock"


class AlreadyUpError(Exception):
    """Another process holds a stack in this folder."""


@dataclass(frozen=True)
class RunningStack:
    """A local stack: the process that holds it, its settings and its roles. ``tiers_since`` says
    from when on (ms since 1970) a tier is complete; 0 is the stack's own beginning."""

    pid: int
    account: str
    settings: dict[str, Any]
    roles: dict[str, str]
    status_url: str
    dashboard_url: str = ""
    tiers_since: dict[str, int] = field(default_factory=dict)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        draft = RUNFILE.with_suffix(".tmp")
        draft.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
        draft.replace(RUNFILE)


@contextmanager
def hold() -> Iterator[None]:
    """Hold the lock of this folder's stack while the context lasts.

    :raises AlreadyUpError: when there is one.
    """
    HOME.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUpError from None
        try:
            yield
        finally:
            RUNFILE.unlink(missing_ok=True)


def is_held() -> bool:
    """Whether a process holds a stack in this folder, starting and stopping included."""
    try:
        with _LOCK.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def running_stack() -> RunningStack | None:
    """The stack that is up in this folder."""
    if not is_held():
        return None
    try:
        return RunningStack(**orjson.loads(RUNFILE.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
