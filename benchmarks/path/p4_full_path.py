"""P4: from a device's clock to a window that DynamoDB has, over the whole path.

The latency is the worker's own: a reading's ``ts`` until the first window that holds it is
durable. It is read in slices of a few seconds, so that there is a spread.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Progress, Result, Samples, limit, result
from consumers.worker.supervisor import Worker
from infra.console import Stages
from infra.local.stack import LocalOptions, LocalStack
from infra.simulation.drive import drive as drive_load
from infra.simulation.drive import over_mqtt
from infra.simulation.provision_fleet import fleet_names, provision_fleet
from ingest.histogram import Histogram
from simulator.scenario import steady_fleet

DEVICES: Final = 50
RATE: Final = 2.0
SLICES: Final = 5
SLICE_S: Final = 5.0
LADDER: Final = (4.0, 8.0, 12.0, 16.0, 20.0, 24.0)
STEP_S: Final = 6.0
TARGET_P50_MS: Final = 500.0
TARGET_P99_MS: Final = 1000.0


def run(progress: Progress) -> Result:
    """Measure the latency at 100 messages/s, then raise the rate until it no longer holds."""
    with local_stack(progress) as stack:
        fleet = provision_fleet(
            stack.target, fleet_names(stack.target.settings.stack, DEVICES), group="bench"
        )
        stack.await_shards()
        with driven(stack, fleet, RATE, SLICES * SLICE_S + 4):
            time.sleep(3)
            slices = [latency_within(stack, SLICE_S) for _ in range(SLICES)]
        points = [_point(RATE, *_both(slices), {})]
        for rate in LADDER:
            progress(f"{DEVICES} devices at {rate:.0f} messages/s each …")
            points.append(_step(stack, fleet, rate))
            if not points[-1]["holds"]:
                break
    p50, p99 = _both(slices)
    what = f"device ts to readable, {DEVICES} devices x {RATE:.0f} messages/s"
    return result(
        "device ts to readable in DynamoDB over the whole path",
        [
            limit(f"{what}: p50", p50, unit="ms", at_most=TARGET_P50_MS),
            limit(f"{what}: p99", p99, unit="ms", at_most=TARGET_P99_MS),
        ],
        highest_rate_that_holds=max((p["messages_per_s"] for p in points if p["holds"]), default=0),
        points=points,
    )


@contextlib.contextmanager
def local_stack(progress: Progress, **options: Any) -> Iterator[LocalStack]:
    """A local stack in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        directory = Path(folder)
        progress("starting a local stack")
        with LocalStack(LocalOptions(directory, **options), Stages(), progress) as stack:
            yield stack


@contextlib.contextmanager
def driven(stack: LocalStack, fleet: Any, rate: float, seconds: float) -> Iterator[None]:
    """The fleet publishes while the body runs, and to its end."""
    errors: list[BaseException] = []
    ledger = Path(tempfile.mkdtemp(prefix="ledger-")) / "ledger.sqlite"

    def drive() -> None:
        try:
            load = steady_fleet(len(fleet), rate=rate, seconds=seconds)
            drive_load(
                stack.target, load, [one.device_id for one in fleet], over_mqtt(fleet),
                seed=1, ledger_path=ledger,
            )  # fmt: skip
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            errors.append(error)

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def _step(stack: LocalStack, fleet: Any, rate: float) -> dict[str, Any]:
    """One rate, for some seconds, with whose CPU it took."""
    with driven(stack, fleet, rate, STEP_S + 2):
        time.sleep(2)
        before = cpu_of(stack)
        histogram = latency_within(stack, STEP_S)
        after = cpu_of(stack)
    _settle(stack)
    busy = {name: round((after[name] - before[name]) / STEP_S, 2) for name in after}
    return _point(rate, *_both([histogram]), busy)


def _settle(stack: LocalStack) -> None:
    """Let what is behind catch up, so that a rate does not pay for the one before."""
    durable = -1
    while durable != (durable := stack.worker.status.snapshot()["durable"]):
        time.sleep(1.5)


def _point(rate: float, p50: Samples, p99: Samples, busy: dict[str, float]) -> dict[str, Any]:
    return {
        "messages_per_s": DEVICES * rate,
        "p50": p50.median,
        "p99": p99.median,
        "holds": p50.median <= TARGET_P50_MS and p99.median <= TARGET_P99_MS,
        "cores": busy,
    }


def latency_within(stack: LocalStack, seconds: float) -> Histogram:
    """The latencies that were reported within the next seconds."""
    before = stack.worker.status.latency().counts
    time.sleep(seconds)
    after = stack.worker.status.latency().counts
    return Histogram({b: n - before.get(b, 0) for b, n in after.items() if n > before.get(b, 0)})


def _both(histograms: list[Histogram]) -> tuple[Samples, Samples]:
    """Medians of p50 and p99."""
    p50, p99 = ([h.percentile(share) or float("inf") for h in histograms] for share in (0.5, 0.99))
    return Samples(p50), Samples(p99)


def cpu_of(stack: LocalStack) -> dict[str, float]:
    """CPU seconds so far of the parts of a stack."""
    mine = os.times()
    daemon = stack.worker.pid
    return {
        "simulator": mine.user + mine.system,
        "emulator": tree_cpu_s(stack.emulator_pid),
        "daemon": process_cpu_s(daemon),
        "children": children_cpu_s(stack.worker),
    }


def children_cpu_s(worker: Worker) -> float:
    """CPU seconds of a worker's shards: forked ones belong to the fork server, their clients to
    the daemon."""
    fork_clients = sum(tree_cpu_s(child) for child in children_of(worker.pid))
    return fork_clients + tree_cpu_s(worker.fork_server_pid)


def process_cpu_s(pid: int) -> float:
    """User and system time of one process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tree_cpu_s(pid: int) -> float:
    """Of a process and everything below it."""
    return process_cpu_s(pid) + sum(tree_cpu_s(child) for child in children_of(pid))


def children_of(pid: int) -> list[int]:
    """The processes that a process started."""
    try:
        threads = [t / "children" for t in Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for t in threads for child in t.read_text().split()]
    except OSError:
        return []
