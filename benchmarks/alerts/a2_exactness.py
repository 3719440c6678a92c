"""A2: transitions missing, extra or doubled, over random schedules and all faults of alarms.

Schedules are those of ``tests/property/test_alerts.py`` with seeds from 1 on, in memory: readings
come late, twice and out of order, workers die at any call, two work on one shard, replies get lost.
Faults are those of ``tests/chaos/faults/alerts.py``, on an embedded AWS with real processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Final

from benchmarks.measure import Progress, Result, none_of, result

SCHEDULES: Final = 1_000


def run(progress: Progress) -> Result:
    """Count violations."""
    broken = schedules(progress)
    rows = list(faults(progress))
    inexact = [row for row in rows if row["verdict"] != "exact"]
    return result(
        "violations of invariant T",
        [
            none_of(
                f"schedules of {SCHEDULES:,} with a transition missing, extra or twice", broken
            ),
            none_of(f"faults of {len(rows)} with one", len(inexact)),
        ],
        faults={row["name"]: row["verdict"] for row in rows},
        violations=[one for row in inexact for one in row["violations"]],
    )


def schedules(progress: Progress) -> int:
    """How many schedules break the invariant."""
    from tests.property.test_alerts import violations

    broken = 0
    for seed in range(1, SCHEDULES + 1):
        if seed % 50 == 0:
            progress(f"schedule {seed} of {SCHEDULES}")
        broken += bool(violations(seed))
    return broken


def faults(progress: Progress) -> list[dict[str, Any]]:
    """The rows of the fault suite for the faults of alarms."""
    from tests.chaos.faults import load_all

    names = [
        fault.name for fault in load_all().values() if fault.inflict.__module__.endswith("alerts")
    ]
    found = []
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.suite", *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found.append(json.loads(line))
            progress(f"fault {len(found)} of {len(names)}: {found[-1]['name']} …")
    if len(found) < len(names):
        raise RuntimeError(f"the fault suite ended after {len(found)} of {len(names)} faults")
    return found
