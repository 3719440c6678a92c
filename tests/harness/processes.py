"""Find the processes of a run, on Linux, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def await_value(probe: Callable[[], T | None], seconds: float, what: str) -> T:
    """What ``probe`` answers, as soon as it answers; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (value := probe()) is not None:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {seconds} s")


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """(pid, command line) of every process below ``pid``."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            parents.setdefault(parent, []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            waiting.append(child)
            yield child, command_line(child)


def command_line(pid: int) -> str:
    """A process's command line, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def daemon_of(pid: int) -> int | None:
    """The KCL daemon below ``pid``."""
    return next((p for p, line in descendants(pid) if "MultiLangDaemon" in line), None)


def children_of(pid: int) -> list[int]:
    """The shard children below ``pid``: what its fork server has forked."""
    nurseries = {p for p, line in descendants(pid) if "consumers.shard.fork_server" in line}
    return sorted(p for p in nurseries if _parent(Path(f"/proc/{p}")) in nurseries)


def alive(pid: int) -> bool:
    """Whether a process runs and is no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _parent(entry: Path) -> int | None:
    try:
        return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return None
