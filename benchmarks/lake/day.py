"""The day that L1, L2, L3 and L5 measure: one archive for all that are run together."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

from benchmarks.lake.archive import Layout, Stand, stand
from benchmarks.measure import Progress
from infra.archive.tables import compacted_readings
from lake.catalog.index import Compacted

READINGS: Final = 10_000_000
QUICK_READINGS: Final = 1_000_000
_ended: Final = ExitStack()
atexit.register(_ended.close)


class Ended(NamedTuple):
    """A process that ended: its answer, its wall and CPU seconds, the most memory it held (MB)."""

    answer: Any
    wall_s: float
    cpu_s: float
    peak_mb: float


class Day(NamedTuple):
    """An archive on the embedded AWS. ``compact`` it when what is asked of it alone is known."""

    made: Stand

    def penstock(self, *arguments: str) -> Ended:
        """A command as a user runs it, in a process of its own."""
        command = [sys.executable, "-m", "infra", *arguments, "--json"]
        return run_measured(command, self.made.folder, dict(self.made.environment))

    def compacted(self) -> Compacted:
        """The newest snapshot; its files have every reading."""
        found = compacted_readings(self.made.target)
        if found is None or sum(one.rows for one in found.files) != self.made.layout.readings:
            raise RuntimeError("compaction did not bring every reading into the table")
        return found


_days: Final[dict[Layout, Day]] = {}
_compactions: Final[dict[Layout, Ended]] = {}


def day(layout: Layout, progress: Progress) -> Day:
    """The archive of a day, the same for all measures of a run."""
    if layout not in _days:
        progress(f"an archive of {layout.segments} segments …")
        _days[layout] = Day(_ended.enter_context(stand(layout, progress)))
    return _days[layout]


def compaction(layout: Layout, progress: Progress) -> Ended:
    """The day's compaction, which is done once."""
    if layout not in _compactions:
        found = day(layout, progress)
        found.penstock("lake", "status")  # compiles byte code, as an installation has it
        progress("compaction …")
        _compactions[layout] = found.penstock("lake", "compact")
        found.compacted()
    return _compactions[layout]


def run_measured(command: list[str], folder: Any, environment: dict[str, str]) -> Ended:
    """Run a command that prints JSON; what it used is of this process alone."""
    started = time.monotonic()
    with (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdout is not None
        answer = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(errors.read())
    return Ended(json.loads(answer), wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
