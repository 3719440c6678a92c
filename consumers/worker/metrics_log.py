"""Writes the worker's metrics to its log, every few seconds; see :mod:`consumers.worker.emf`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final

from consumers.worker.duty import on_duty
from consumers.worker.emf import Sample, emf_line
from consumers.worker.status import WorkerStatus

EVERY_S: Final = 15.0
"""Four lines a minute: CloudWatch keeps a metric's values by the minute."""


@contextmanager
def metrics_logged(
    status: WorkerStatus,
    output: IO[bytes],
    *,
    stack: str,
    worker: Callable[[], str],
    every_s: float = EVERY_S,
) -> Iterator[None]:
    """Write a line every ``every_s`` seconds while the body runs, and one at its end."""

    def sample() -> Sample:
        return Sample(time.time_ns() // 1_000_000, status.snapshot(), status.flushes())

    def run(ending: threading.Event) -> None:
        before = sample()
        over = False
        while not over:
            over = ending.wait(every_s)
            now = sample()
            output.write(emf_line(before, now, stack=stack, worker=worker()) + b"\n")
            output.flush()
            before = now

    with on_duty("metrics", run):
        yield
