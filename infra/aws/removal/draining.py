"""Wait until a stack that is about to go has nothing left to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from infra.aws.removal.backlog import Backlog
from infra.aws.stacks.following import DeployError

LOOK_S: Final = 2.0
STOP_S: Final = 600.0


def await_archived(
    look: Callable[[], Backlog],
    workers: Callable[[], Sequence[str]],
    *,
    patience_s: float,
    tell: Callable[[Backlog], object],
    look_s: float = LOOK_S,
) -> None:
    """Return when no record is unread. ``patience_s`` is how long the backlog may stay as it is
    while a worker runs: longer than a segment stays open.

    :raises DeployError: when no worker runs, or the one that does makes no progress.
    """
    least: int | None = None
    since = time.monotonic()
    while backlog := look():
        tell(backlog)
        running = workers()
        if not running:
            raise DeployError(
                f"{backlog} of the stream are not archived and no worker runs: run `penstock "
                "consume` until they are, then destroy again; or add --discard to lose them"
            )
        if least is None or backlog.records < least:
            least, since = backlog.records, time.monotonic()
        elif time.monotonic() - since > patience_s:
            raise DeployError(
                f"{backlog} of the stream are not archived, and worker {running[0]} makes no "
                "progress: see its log, then destroy again; or add --discard to lose them"
            )
        time.sleep(look_s)


def await_stopped(
    workers: Callable[[], Sequence[str]],
    *,
    tell: Callable[[Sequence[str]], object],
    patience_s: float = STOP_S,
    look_s: float = LOOK_S,
) -> None:
    """Return when no worker reports any more.

    :raises DeployError: when one still does after ``patience_s``.
    """
    deadline = time.monotonic() + patience_s
    while running := workers():
        tell(running)
        if time.monotonic() > deadline:
            raise DeployError(
                f"worker {running[0]} still runs: stop it (Ctrl-C where it runs, or no tasks of "
                "its service), then destroy again"
            )
        time.sleep(look_s)
