"""``.penstock/stack.json``: how other terminals find the local stack that is up."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

HOME: Final = Path(".penstock")
RUNFILE: Final = HOME / "stack.json"


@dataclass(frozen=True)
class RunningStack:
    """A local stack: the process that holds it, its settings and its roles."""

    pid: int
    account: str
    settings: dict[str, Any]
    roles: dict[str, str]
    status_url: str

    def save(self) -> None:
        """Write the file, whole or not at all."""
        HOME.mkdir(parents=True, exist_ok=True)
        draft = RUNFILE.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self), indent=2))
        draft.replace(RUNFILE)


def running_stack() -> RunningStack | None:
    """The stack that is up in this folder, if its process lives."""
    try:
        stack = RunningStack(**json.loads(RUNFILE.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return stack if is_alive(stack.pid) else None


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
