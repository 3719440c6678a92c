"""One size of P8, in a process of its own: prints CPU seconds and the memory it grew by."""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

from benchmarks.workloads import ours, traffic
from consumers.kcl.protocol import parse

RECORDS_A_SECOND = 1_000


def resident_mb() -> float:
    """Memory of this process (PSS: what no other process shares)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no Pss in /proc/self/smaps_rollup")


def main(devices: int, records: int) -> dict[str, float]:
    """Run a shard of so many devices over so many records."""
    now = 0.0
    processor = ours.processor(lambda: now)
    list(traffic.lines(1, 1, 1))
    gc.collect()
    before, highest, spent = resident_mb(), 0.0, 0.0
    done = 0
    for number, one in enumerate(traffic.lines(devices, -(-records // devices), 1)):
        started = time.process_time()
        batch = parse(one).records
        processor.process(batch)
        spent += time.process_time() - started
        done += len(batch)
        now += len(batch) / RECORDS_A_SECOND
        if number % 20 == 0:
            highest = max(highest, resident_mb())
        if done >= records:
            break
    return {"seconds": spent, "megabytes": highest - before}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
