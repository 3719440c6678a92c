"""``penstock demo``: the whole path once, bounded, and compared reading by reading.

On a running local stack it provisions a fleet, drives its load, drains, and verifies: the windows,
the archive, and the lake that is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.console import Stages
from infra.cost.run import RunCost
from infra.local.stack import LocalStack
from infra.simulation.drain import await_archived
from infra.simulation.drive import drive, over_mqtt
from infra.simulation.lake import check_lake, of_run, preload, update_lake
from infra.simulation.provision_fleet import fleet_names, provision_fleet
from infra.simulation.run_meter import RunMeter
from infra.simulation.verify import verify_settled
from simulator.scenario import Fleet
from simulator.verification.lake import LakeReport
from simulator.verification.ledger import read_faults
from simulator.verification.verifier import Report


@dataclass(frozen=True)
class DemoRun:
    """The results of a demo, for ``infra.simulation.report``."""

    report: Report
    lake: LakeReport
    faults: dict[str, int]
    snapshot: dict[str, Any]
    stages: dict[str, float]
    first_window_s: float | None
    seed: int
    ledger: Path
    cost: RunCost

    @property
    def exact(self) -> bool:
        """Whether windows, archive and lake have what was sent."""
        return self.report.exact and self.lake.exact


def run_demo(
    stack: LocalStack,
    stages: Stages,
    fleet: Fleet,
    *,
    seed: int,
    directory: Path,
    started: float,
    stopping: Callable[[], bool],
) -> DemoRun:
    """Drive a fleet through a running local stack, and verify; ``started`` is when the user
    typed the command (s since the epoch)."""
    target = stack.target
    meter = RunMeter(target)
    with stages.stage("provision", f"{fleet.devices} devices have their certificates"):
        identities = provision_fleet(
            target, fleet_names(target.settings.stack, fleet.devices, fleet.type), group="demo"
        )
    with stages.stage("leases", "the worker holds every shard"):
        stack.await_shards(stopping)
    ledger_path = directory / "ledger.sqlite"
    with stages.stage("load", "load is driven and acknowledged", cut_short=False):
        drive(
            target, fleet, [one.device_id for one in identities], over_mqtt(identities),
            seed=seed, ledger_path=ledger_path, snapshot=stack.worker.status.snapshot,
            stopping=stopping,
        )  # fmt: skip
    loading = preload()
    with stages.stage("drain", "everything is folded and archived", cut_short=False):
        await_archived(target, ledger_path)
    with stages.stage("verify", "every reading is compared", cut_short=False):
        report = verify_settled(target, ledger_path, exclusive=True)
    cost = meter.read(fleet.devices)  # the lake is not metered: it is a job of once an hour
    with stages.stage("lake", "the lake's tables are made and compared", cut_short=False):
        loading.join()
        lake = of_run(target, directory)
        update_lake(lake)
        in_lake = check_lake(lake, report.accepted)
    snapshot = stack.worker.status.snapshot()
    first = snapshot["first_durable_at"]
    return DemoRun(
        report=report,
        lake=in_lake,
        faults=read_faults(ledger_path),
        snapshot=snapshot,
        stages=stages.seconds,
        first_window_s=None if first is None else round(first / 1000 - started, 2),
        seed=seed,
        ledger=ledger_path,
        cost=cost,
    )
