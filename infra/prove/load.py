"""The part of a proof in which devices send, faults happen, and everything is compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from consumers.logs import logging_to
from consumers.worker.supervisor import Worker
from infra.aws.removal.backlog import unread
from infra.aws.stacks.run_stack import lease_shards
from infra.prove.checkpoints import CheckpointWatch
from infra.prove.faults import FaultThread, Site, open_shards
from infra.prove.run_state import Run
from infra.scenario.alarms import alarms_at_work, compare_alarms
from infra.scenario.play import direct, fleet_facts, notices_of, samples_of, spool_counts
from infra.simulation.drain import await_archived
from infra.simulation.drive import new_ledger
from infra.simulation.verify import verify_settled
from infra.target import Target
from infra.worker.assembly import await_shards, supervised, worker_of
from simulator.errors import LedgerError
from simulator.load.director import Setup
from simulator.rescale import at_speed, thinned
from simulator.scenario import Scenario, load_scenario
from simulator.verification.ledger import read_entries, read_faults, read_meta

LAG_S: Final = 60.0
HEARD: Final = "heard.jsonl"
"""In a run's folder: what the bus of alarms carried."""
INCARNATIONS: Final = 100
"""More processes than a fleet has in one load: each load numbers its own from a multiple of it."""


def scenario_of(devices: int, seconds: float) -> Scenario:
    """The proof's scenario for so many devices, in so many seconds; the number of messages of a
    device stays the same."""
    scenario = load_scenario("prove")
    return thinned(at_speed(scenario, scenario.seconds / seconds), devices)


@contextmanager
def worker_beside(run: Run, target: Target) -> Iterator[Worker]:
    """A worker whose processes are children of this one, until the context ends. From the main
    thread."""
    folder = run.folder / "worker"
    folder.mkdir(parents=True, exist_ok=True)
    lease_shards(target)
    with ExitStack() as stack:
        log = stack.enter_context((run.folder / "worker.log").open("ab"))
        stack.enter_context(logging_to(log, lambda _: None))
        worker = stack.enter_context(worker_of(target, directory=folder, output=log, report_s=1.0))
        stack.enter_context(supervised(worker))
        yield worker


def drive(run: Run, target: Target, worker: Worker, stopping: Callable[[], bool]) -> dict[str, Any]:
    """Let the fleet send, with all faults; what it did and how the faults went. A load that was
    broken off goes on with the ledger and the spools that it left, as after a power cut.

    :raises UserError: when devices or the worker fail.
    """
    await_shards(worker, len(open_shards(target)), stopping)
    scenario = scenario_of(run.devices, run.load_s)
    ledger = _ledger(run, target)
    setup = Setup(
        devices_dir=target.settings.devices_dir.absolute(),
        spools=(run.folder / "spools").absolute(),
        ledger=ledger.absolute(),
        names=run.names,
    )
    run.loads += 1
    run.save()
    started = time.monotonic()
    with (
        alarms_at_work(target, scenario, run.folder / HEARD),
        CheckpointWatch(target) as watch,
        FaultThread(
            Site(target, worker), lambda: time.monotonic() - started, scenario.seconds
        ) as faults,
    ):
        director = direct(
            scenario, setup, seed=run.seed, stopping=stopping, status=worker.status,
            incarnation=(run.loads - 1) * INCARNATIONS,
        )  # fmt: skip
    if stopping():
        raise KeyboardInterrupt
    return {
        "scenario": msgspec.to_builtins(scenario),
        "fleets": {name: fleet_facts(one) for name, one in director.fleets.items()},
        "spool": spool_counts(director.fleets.values(), read_entries(ledger)),
        "samples": samples_of(director),
        "notices": notices_of(director),
        "stack_faults": faults.found,
        "checkpoints": watch.result(),
        "worker": _figures(worker),
    }


def compare(run: Run, target: Target, worker: Worker) -> dict[str, Any]:
    """Wait until everything is folded and archived, and compare it with what was sent."""
    ledger = run.folder / "ledger.sqlite"
    await_archived(target, ledger)
    report = verify_settled(target, ledger, exclusive=True)
    scenario = scenario_of(run.devices, run.load_s)
    with alarms_at_work(target, scenario, run.folder / HEARD) as heard:
        alarms = compare_alarms(target, ledger, heard).as_dict() if heard else None
    waiting = _await_checkpoints(target)
    watch = CheckpointWatch(target)
    watch.look()
    return {
        **report.as_dict(),
        "alarms": alarms,
        "device_faults": read_faults(ledger),
        "unread_records": waiting,
        "checkpoints": watch.result(),
        "worker": _figures(worker),
        "shards": len(open_shards(target)),
    }


def _figures(worker: Worker) -> dict[str, Any]:
    """What a worker knows of its own life."""
    snapshot = worker.status.snapshot()
    return {
        "durable": snapshot["durable"],
        "latency_ms": snapshot["latency_ms"],
        "live_latency_ms": snapshot["live_latency_ms"],
        "longest_stall_s": snapshot["longest_stall_ms"] / 1000,
        "restarts": snapshot["restarts_by_cause"],
        "conflicts": snapshot["conflicts"],
    }


def _await_checkpoints(target: Target) -> int:
    """Records that no checkpoint covers, once there are none, or after a minute."""
    kinesis, dynamodb = target.client("kinesis"), target.client("dynamodb")
    deadline = time.monotonic() + LAG_S
    while True:
        backlog = unread(kinesis, dynamodb, target.settings)
        if not backlog or time.monotonic() > deadline:
            return backlog.records
        time.sleep(1.0)


def _ledger(run: Run, target: Target) -> Path:
    """The ledger, which is of all loads of a run."""
    path = run.folder / "ledger.sqlite"
    try:
        read_meta(path)
    except LedgerError:  # nothing was sent before it was there
        path.unlink(missing_ok=True)
        new_ledger(target, path, run.seed).close()
    return path
