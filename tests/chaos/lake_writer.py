"""The lake's jobs in processes of their own, which a fault can kill or freeze at a step.

A fork server imports the Iceberg library once; each job is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Final, Literal, NamedTuple

from infra.archive.lake import archive_bucket
from infra.archive.tables import open_catalog_of
from infra.target import Target
from ingest.settings import Settings
from lake.catalog.lock import HeldError, held

LEASE_S: Final = 1.0
"""How long a killed or frozen writer keeps others waiting."""
HELD: Final = 3
"""The exit code of a job that found another writer at work."""

Name = Literal["sync", "compact"]
Act = Literal["kill", "freeze"]
_SIGNALS: Final = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}
_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [__name__, "tests.chaos.site", "lake.compaction.compact", "lake.librarian.sync",
     "pyiceberg.catalog.glue", "pyiceberg.catalog.sql", "pyiceberg.io.pyarrow"]
)  # fmt: skip


class Job(NamedTuple):
    """A job on a stack: with ``act`` it kills or freezes itself when it reaches ``step`` for the
    first time. ``later_s`` is added to the clock: a day that ends then is merged."""

    name: Name
    act: Act | None = None
    step: str = ""
    later_s: int = 0


def start(target: Target, job: Job) -> BaseProcess:
    """Start a job on the target's lake."""
    process = _FORKS.Process(target=_run, args=(target.settings, target.account, job))
    process.start()
    return process


def exit_code(process: BaseProcess, seconds: float = 60.0) -> int:
    """Wait for a job's end; its exit code, negative for a signal.

    :raises AssertionError: when it does not end.
    """
    process.join(seconds)
    assert process.exitcode is not None, f"a job of the lake did not end within {seconds} s"
    return process.exitcode


def _run(settings: Settings, account: str, job: Job) -> None:
    target = Target(settings, account, local=True)
    pending = [job.step]

    def at(step: str) -> None:
        if job.act is not None and step in pending:
            pending.clear()
            os.kill(os.getpid(), _SIGNALS[job.act])

    try:
        with held(target.client("s3"), archive_bucket(target), "lake", ttl_s=LEASE_S):
            _work(target, job, at)
    except HeldError:
        sys.exit(HELD)


def _work(target: Target, job: Job, at: Callable[[str], None]) -> None:
    from lake.compaction.compact import Compactor
    from lake.librarian.sync import sync

    catalog, config = open_catalog_of(target)
    now_ms = time.time_ns() // 1_000_000 + job.later_s * 1000
    # What arrives from now on is not older than this clock says: the stream keeps it so long.
    retention_hours = 24 + job.later_s // 3600
    if job.name == "sync":
        sync(
            catalog, config, target.client("s3"), archive_bucket(target),
            now_ms=now_ms, retention_hours=retention_hours, step=at,
        )  # fmt: skip
    else:
        Compactor(
            catalog, config, target.client("s3"), archive_bucket(target),
            retention_hours=retention_hours, step=at,
        ).run(now_ms)  # fmt: skip
