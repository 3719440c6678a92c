"""A replay in several processes, each of a part of the devices.

A device is always in the same part, so the processes never write the same window. Each of them
reads every segment of the time, which costs little beside the fold.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO

import msgspec

from consumers.exceptions import ConsumerError
from lake.replay.part import Replayed
from lake.replay.process import Part, Report


class ReplayError(ConsumerError):
    """A part of a replay could not be done; the text is one line for the operator."""


def run_parts(
    parts: Sequence[Part],
    environment: Mapping[str, str],
    *,
    progress: Callable[[Replayed], None] = lambda _: None,
    stopping: threading.Event | None = None,
) -> Replayed:
    """Replay all parts, a process each with this environment; the sum of what they did.

    When ``stopping`` is set, each part writes what it has folded and ends.

    :raises ReplayError: when a part could not be done; the others were stopped in order.
    """
    running = [_start(part, environment) for part in parts]
    reports = {part.part: Report(part.part, Replayed()) for part in parts}
    readers = [
        threading.Thread(target=_read, args=(process, reports, progress), daemon=True)
        for process in running
    ]
    for reader in readers:
        reader.start()
    told = False
    try:
        while any(reader.is_alive() for reader in readers):
            failed = any(report.error for report in reports.values())
            if not told and (failed or (stopping is not None and stopping.is_set())):
                told = True
                _stop(running)
            for reader in readers:
                reader.join(0.05)
    except BaseException:
        _stop(running)
        raise
    finally:
        codes = [process.wait() for process in running]
    done = total(report.done for report in reports.values())
    for report, code in zip(reports.values(), codes, strict=True):
        if report.error:
            raise ReplayError(report.error)
        if not report.ended:
            if stopping is None or not stopping.is_set():
                raise ReplayError(f"a process of the replay ended with status {code}: run it again")
            done.stopped = True  # before it had begun
    return done


def total(done: Iterable[Replayed]) -> Replayed:
    """The sum of what several parts did; each of them reads every segment."""
    parts = list(done)
    refused: Counter[str] = Counter()
    for part in parts:
        refused.update(part.refused)
    return Replayed(
        segments=max((part.segments for part in parts), default=0),
        segments_done=min((part.segments_done for part in parts), default=0),
        readings=sum(part.readings for part in parts),
        added=sum(part.added for part in parts),
        windows=sum(part.windows for part in parts),
        conflicts=sum(part.conflicts for part in parts),
        refused=dict(refused),
        seconds=max((part.seconds for part in parts), default=0.0),
        waited=max((part.waited for part in parts), default=0.0),
        stopped=any(part.stopped for part in parts),
    )


def _start(part: Part, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "lake.replay.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(environment),
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(part) + b"\n")
    process.stdin.close()
    return process


def _read(
    process: subprocess.Popen[bytes],
    reports: dict[int, Report],
    progress: Callable[[Replayed], None],
) -> None:
    output: IO[bytes] | None = process.stdout
    assert output is not None
    with output:
        for line in output:
            report = msgspec.json.decode(line, type=Report)
            reports[report.part] = report
            progress(total(report.done for report in list(reports.values())))


def _stop(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.poll() is None:
            process.terminate()
