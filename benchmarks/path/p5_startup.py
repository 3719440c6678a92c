"""P5: from ``penstock up`` on an installed machine to the first window that can be read."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Progress, Result, Samples, limit, result

if TYPE_CHECKING:
    from infra.target import Target

RUNS: Final = 5
TARGET_S: Final = 15.0
UP: Final = (sys.executable, "-m", "infra", "up", "--port", "0", "--mqtt-port", "0",
             "--status-port", "0")  # fmt: skip
_STAGE: Final = re.compile(r"\s*✓ (.+) \(([\d.]+) s\)")


def run(progress: Progress) -> Result:
    """Start it anew, each time in an empty folder, with one device that is already sending."""
    totals: list[float] = []
    stages: dict[str, list[float]] = defaultdict(list)
    for number in range(RUNS):
        progress(f"start {number + 1} of {RUNS} …")
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
            total, parts = start(Path(folder))
        totals.append(total)
        for name, seconds in parts.items():
            stages[name].append(seconds)
    return result(
        "penstock up to the first window readable, empty lease table",
        [limit("penstock up to the first window", Samples(totals), unit="s", at_most=TARGET_S)],
        points=[
            {"stage": name, "seconds": round(Samples(seconds).median, 2)}
            for name, seconds in stages.items()
        ],
    )


def start(folder: Path) -> tuple[float, dict[str, float]]:
    """Seconds to the first window, and those of the stages that ``up`` reports."""
    started = time.monotonic()
    stages: dict[str, float] = {}
    with subprocess.Popen(
        [*UP],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as up:  # fmt: skip

        def read() -> None:
            assert up.stderr is not None
            for line in up.stderr:
                if match := _STAGE.match(line):
                    stages[match[1]] = float(match[2])

        threading.Thread(target=read, daemon=True).start()
        try:
            _await_window(folder, started + 90)
            return time.monotonic() - started, stages
        finally:
            up.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                up.wait(30)
            up.kill()


def _await_window(folder: Path, deadline: float) -> None:
    """Send from the moment that there is a stream, until a window can be read."""
    target = target_in(folder, deadline)
    table, stream = target.settings.windows_table, target.settings.stream
    kinesis, dynamodb = target.client("kinesis"), target.client("dynamodb")
    seq = 0
    while time.monotonic() < deadline:
        kinesis.put_record(StreamName=stream, PartitionKey="bench", Data=record(seq))
        seq += 1
        if dynamodb.scan(TableName=table, Limit=1, ConsistentRead=True)["Items"]:
            return
        time.sleep(0.05)
    raise TimeoutError("no window came within 90 s")


def target_in(folder: Path, deadline: float) -> Target:
    """The stack that is starting in a folder, once there is a stream."""
    from infra.runfile import running_stack
    from infra.target import find_target

    with contextlib.chdir(folder):
        while running_stack() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return find_target()


def record(seq: int, device: str = "bench") -> bytes:
    """A record of the stream with one reading of now."""
    import msgspec

    from ingest.record import encode_record

    now = time.time_ns() // 1_000_000
    payload = msgspec.json.encode(
        {"v": 1, "boot": "benchmark", "seq": seq,
         "readings": [{"ts": now, "metrics": {"level": 1.0}}]}
    )  # fmt: skip
    return encode_record(payload, device, now)
