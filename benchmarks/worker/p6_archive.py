"""P6: bytes a reading, readings a second and core through the segment writer, and its memory.

The baseline is what a competent user would write with pyarrow: rows as dictionaries in a list,
``Table.from_pylist`` when the segment closes, ``write_table`` with zstd. Each runs in a process
of its own; memory is what that process grew by at its highest, from the first record.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks.measure import MEASURED_ENVIRONMENT, Progress, Result, Samples, check, result
from consumers.worker.launch import ARROW

RUNS = 5
SIZES = (25_000, 100_000)


def run(progress: Progress) -> Result:
    """Measure both, in turn, five times, for two sizes of a segment."""
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for turn in range(RUNS):
        progress(f"run {turn + 1} of {RUNS} …")
        for readings in SIZES:
            for who in ("ours", "stock"):
                found.setdefault((who, readings), []).append(_segment(who, readings))

    def samples(who: str, field: str, readings: int = SIZES[-1]) -> Samples:
        return Samples([one[field] for one in found[who, readings]])

    checks = [
        check("archive bytes a reading", samples("ours", "bytes"), samples("stock", "bytes"),
              unit="B"),
        check("readings a second through the segment writer", samples("ours", "seconds"),
              samples("stock", "seconds"), unit="/s", scale=lambda s: SIZES[-1] / s),
        check(f"memory of an open segment of {SIZES[-1]:,}", samples("ours", "megabytes"),
              samples("stock", "megabytes"), unit="MB"),
        check(f"memory at {SIZES[-1]:,} readings, against {SIZES[0]:,}",
              samples("ours", "megabytes"), samples("ours", "megabytes", SIZES[0]), unit="MB"),
    ]  # fmt: skip
    points = [
        {"readings": readings, **{who: samples(who, "megabytes", readings).median
                                  for who in ("ours", "stock")}}
        for readings in SIZES
    ]  # fmt: skip
    return result("archive bytes a reading", checks, points=points)


def _segment(who: str, readings: int) -> dict[str, float]:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker.p6_segment", who, str(readings)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **ARROW, **MEASURED_ENVIRONMENT},
    )
    return dict(json.loads(run.stdout))
