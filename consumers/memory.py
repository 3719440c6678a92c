"""How much memory this process may use, and how much others do. Reads /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""A container's limit, in version 2 and 1 of control groups."""


def memory_mb() -> int:
    """Memory (MiB) of this machine, or of the container that this process is in."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _LIMITS:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # "max" is no limit
            found = min(found, int(text))
    return found // MIB


def resident_mb(pid: int | str = "self") -> float | None:
    """Resident memory (MiB) of a process; ``None`` when it is gone, or this is not Linux."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
