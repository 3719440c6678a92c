"""Failpoints: named places where a test can make a shard's process die, hang or fail.

Off unless ``PENSTOCK_FAILPOINTS`` names a folder. A file in it, named as the failpoint, arms it;
the file holds the action: ``crash`` (SIGKILL to itself), ``hang`` or ``raise``, and optionally how
often the process passes first, as in ``crash 2``. The first process that reaches the failpoint
removes the file and acts, so the process that replaces it is not affected.

Failpoints are on the paths of batches and commits, never on that of a single record.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, get_args

VARIABLE: Final = "PENSTOCK_FAILPOINTS"

Point = Literal[
    "decoded",
    "between_batches",
    "windows_durable",
    "alerts_recorded",
    "before_put",
    "after_put",
    "hot_flushed",
    "before_checkpoint",
    "after_checkpoint",
    "shard_ended",
    "shutdown_requested",
]
"""In the order in which a batch passes them: after its line is decoded; between two batches of
window writes; before durable windows are evaluated by alert rules, and after their transitions are
recorded; before and after the segment's put; after everything is written at the end of a
process's work; before and after the checkpoint; at the end of the shard; at a request to shut
down."""

POINTS: Final[tuple[Point, ...]] = get_args(Point)


class FailpointError(Exception):
    """The failure that a test asked for. Not a ``ConsumerError``: it stands for an unexpected
    one."""


def armed_by(folder: Path, act: Callable[[str], None]) -> Callable[[Point], None]:
    """A :func:`hit` for a folder: calls ``act`` with the action of an armed failpoint."""
    passed: Counter[str] = Counter()

    def hit(point: Point) -> None:
        file = folder / point
        try:
            action, _, times = file.read_text().partition(" ")
            passed[point] += 1
            if passed[point] <= int(times or 0):
                return
            file.unlink()
        except FileNotFoundError:
            return
        act(action)

    return hit


def obey(action: str) -> None:
    """Do the action: die, hang or fail.

    :raises FailpointError: for ``raise``, and for anything that is no action.
    """
    if action == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    while action == "hang":
        time.sleep(3600)
    raise FailpointError(f"a failpoint has the action {action!r}")


def _off(point: Point) -> None:
    """A failpoint in production does nothing."""


hit: Callable[[Point], None] = _off
if _folder := os.environ.get(VARIABLE):
    hit = armed_by(Path(_folder), obey)
