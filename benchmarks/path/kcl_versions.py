"""The wheel's KCL beside another: ``python -m benchmarks.path.kcl_versions build/kcl-jars``.

Prints, for each in turn, how long a start takes to the first window (as P5), and the daemon's
memory with 1 and with 4 shards while records flow.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

from benchmarks.measure import Samples
from benchmarks.path.p5_startup import UP, record, start, target_in
from benchmarks.worker.p3_memory import pss_mb, tree

RUNS: Final = 3
SHARDS: Final = (1, 4)
LOAD_S: Final = 12.0
A_CALL: Final = 500
DEVICES: Final = 200
VARIABLE: Final = "PENSTOCK_KCL_JARS"


def main() -> int:
    """Measure both in turn."""
    other = str(Path(sys.argv[1]).absolute())
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(RUNS):
        for name, folder in (("wheel", ""), ("kcl_jars", other)):
            os.environ[VARIABLE] = folder
            with tempfile.TemporaryDirectory(prefix="penstock-bench-") as temporary:
                seconds, stages = start(Path(temporary))
            found["first window, s", name].append(seconds)
            for stage, took in stages.items():
                found[f"  {stage}, s", name].append(took)
            for shards in SHARDS:
                with tempfile.TemporaryDirectory(prefix="penstock-bench-") as temporary:
                    mb = _memory(Path(temporary), shards)
                found[f"daemon with {shards} shards, MB", name].append(mb)
    for (what, name), values in sorted(found.items()):
        low, high = min(values), max(values)
        print(f"{what:<50}{name:<10}{Samples(values).median:8.1f}  ({low:.1f} to {high:.1f})")
    return 0


def _memory(folder: Path, shards: int) -> float:
    """The daemon's proportional set size (MB) after :data:`LOAD_S` of records on every shard."""
    with subprocess.Popen(
        [*UP, "--shards", str(shards)],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as up:  # fmt: skip
        try:
            _load(folder)
            (java,) = [pid for pid in tree(up.pid) if _is_java(pid)]
            return pss_mb([java])
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(60)


def _is_java(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/java")


def _load(folder: Path) -> None:
    """Put records into the stream, over all shards."""
    target = target_in(folder, time.monotonic() + 60)
    kinesis, stream = target.client("kinesis"), target.settings.stream
    ends, seq = time.monotonic() + LOAD_S, 0
    while time.monotonic() < ends:
        names = [(one, f"bench-{one % DEVICES}") for one in range(seq, seq + A_CALL)]
        kinesis.put_records(
            StreamName=stream,
            Records=[{"PartitionKey": name, "Data": record(one, name)} for one, name in names],
        )
        seq += A_CALL
        time.sleep(0.25)


if __name__ == "__main__":
    sys.exit(main())
