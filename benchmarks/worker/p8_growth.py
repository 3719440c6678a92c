"""P8: what 100 to 100,000 devices on one shard do to the fold and to memory.

Each size runs in a process of its own: the whole processor, with the segment writer, over the
same number of records; a minute of the stream's own time passes every 60,000 records, as on a
shard at its limit of 1,000 records a second, and each flush takes place when it would. Memory
is what the process grew by from the first record to its highest, so it holds what is waiting,
the open windows, the roster and the open segment. The baseline is 100 devices.

1 to 16 shards run as a worker runs them, forked by its fork server, each fed as fast as it answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks.measure import MEASURED_ENVIRONMENT, Progress, Result, Samples, check, result
from benchmarks.worker.p3_memory import shards_together
from consumers.worker.launch import ARROW

DEVICES = (100, 1_000, 10_000, 100_000)
RECORDS = 60_000
RUNS = 5
SHARDS = (1, 2, 4, 8, 16)


def run(progress: Progress) -> Result:
    """Measure each size, in turn, five times."""
    seconds: dict[int, list[float]] = {devices: [] for devices in DEVICES}
    megabytes: dict[int, list[float]] = {devices: [] for devices in DEVICES}
    for turn in range(RUNS):
        progress(f"run {turn + 1} of {RUNS} …")
        for devices in DEVICES:
            found = json.loads(
                subprocess.run(
                    [
                        sys.executable,
                        "-m",
                        "benchmarks.worker.p8_shard",
                        str(devices),
                        str(RECORDS),
                    ],
                    check=True,
                    capture_output=True,
                    text=True,
                    env={**os.environ, **ARROW, **MEASURED_ENVIRONMENT},
                ).stdout
            )
            seconds[devices].append(found["seconds"])
            megabytes[devices].append(found["megabytes"])
    times = {devices: Samples(values) for devices, values in seconds.items()}
    sizes = {devices: Samples(values) for devices, values in megabytes.items()}
    checks = [
        check(
            f"memory of a shard of {devices:,} devices, against {DEVICES[0]}",
            sizes[devices],
            sizes[DEVICES[0]],
            unit="MB",
        )
        for devices in reversed(DEVICES[1:])
    ] + [
        check(
            f"records a second, {devices:,} devices, against {DEVICES[0]}",
            times[devices],
            times[DEVICES[0]],
            unit="/s",
            scale=lambda spent: RECORDS / spent,
        )
        for devices in reversed(DEVICES[1:])
    ]
    points = [
        {
            "devices": devices,
            "records_a_second": RECORDS / times[devices].median,
            "megabytes": sizes[devices].median,
        }
        for devices in DEVICES
    ]
    progress("1 to 16 shards …")
    return result(
        "growth with the devices on a shard, and with the shards of a worker",
        checks,
        points=points,
        shards=[shards_together(shards) for shards in SHARDS],
    )
