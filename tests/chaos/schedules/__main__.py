"""Run schedules: ``python -m tests.chaos.schedules --from 0 --count 100``.

One process, one thread, one line of JSON for each schedule that violates an invariant and one
at the end. The seed alone replays a schedule.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from consumers.archive.parquet import SegmentFile
from consumers.config import to_environment
from consumers.record import ShardRecord
from tests.chaos.schedules.child import stderr_to
from tests.chaos.schedules.world import CONFIG, Schedule

COLLECT_EVERY: Final = 20


def _defect(name: str) -> Callable[[], None]:
    """A mutant; imported only here, because every child would carry what that imports."""
    from tests.chaos.mutants import MUTANTS

    return MUTANTS[name]


def encode_a_row() -> None:
    """As the fork server does before it forks."""
    file = SegmentFile("")
    file.add([ShardRecord(None, 0, 0, "0", 0, b"", "malformed", None, 0)])
    file.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds")
    parser.add_argument("--step", type=int, default=1, help="the distance between two seeds")
    parser.add_argument("--mutant", help="break the code so: a name of tests.chaos.mutants")
    parser.add_argument("--stop", action="store_true", help="end at the first violation")
    parser.add_argument("--log", type=Path, help="where the children's stderr goes")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a schedule
        again = [sys.executable, "-m", "tests.chaos.schedules", *sys.argv[1:]]
        fixed = {"PYTHONHASHSEED": "0", "ARROW_DEFAULT_MEMORY_POOL": "system"}
        os.execve(sys.executable, again, {**os.environ, **fixed})
    os.environ |= to_environment(CONFIG)
    stderr_to(options.log or Path(os.devnull))
    defect = _defect(options.mutant) if options.mutant else None
    encode_a_row()  # Arrow imports what it finds (pandas) at the first: once, and not in each fork
    gc.disable()
    gc.collect()
    gc.freeze()  # a fork shares what nobody touches
    run = broken = 0
    told = time.monotonic()
    for i in range(options.count):
        seed = options.first + i * options.step
        found = Schedule(seed, defect=defect).run()
        run += 1
        if run % COLLECT_EVERY == 0:  # a small process forks fast
            gc.collect()
        if found:
            broken += 1
            print(json.dumps({"seed": seed, "violations": found}), flush=True)
            if options.stop:
                break
        if time.monotonic() - told > 1:
            told = time.monotonic()
            print(json.dumps({"run": run, "violations": broken}), flush=True)
    print(json.dumps({"run": run, "violations": broken, "end": True}), flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
