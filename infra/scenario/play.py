"""Play a scenario on a deployment, and judge it."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from consumers.worker.status import WorkerStatus
from infra.console import UserError
from infra.cost.run import RunCost
from infra.scenario.alarms import GROUP, alarms_at_work, compare_alarms
from infra.scenario.audit import audit_of
from infra.scenario.commands import commands_at_work, commands_of
from infra.scenario.redrive import redrive_early
from infra.scenario.view import watching
from infra.simulation.drain import await_archived
from infra.simulation.drive import new_ledger
from infra.simulation.lake import check_lake, of_run, update_lake
from infra.simulation.provision_fleet import provision_fleet, removed_from_aws, simulated
from infra.simulation.verify import verify_settled
from infra.target import Target
from ingest.histogram import Histogram
from simulator.errors import FleetError
from simulator.load.director import Director, FleetProgress, Setup
from simulator.load.transport import StreamTarget
from simulator.scenario import Scenario
from simulator.verification.lake import LakeReport
from simulator.verification.ledger import OK, Entry, read_entries, read_faults
from simulator.verification.verifier import Report


@dataclass(frozen=True)
class Played:
    """A scenario that has run, and its results."""

    scenario: Scenario
    seed: int
    report: Report
    spool: dict[str, int]
    faults: dict[str, int]
    fleets: dict[str, dict[str, Any]]
    samples: list[dict[str, Any]]
    notices: list[str]
    cost: RunCost | None = None
    """Where the run was metered."""
    audit: Mapping[str, Any] | None = None
    """What an audit of the fleets' windows said, see ``penstock audit``."""
    rejects: Mapping[str, Any] | None = None
    """What became of readings that were too early and were redriven, on a stack of its own."""
    lake: LakeReport | None = None
    """The lake's tables, brought up to date before and after the redrive, on such a stack."""
    alarms: Mapping[str, Any] | None = None
    """How transitions of alarms compare with those that had to be, on a stack of its own."""
    commands: Mapping[str, Any] | None = None
    """How commands to the devices compare with what the devices did."""

    @property
    def exact(self) -> bool:
        """Whether nothing is missing, from the sensor to the archive and its lake, the windows are
        what the archive says, and what was redriven counts once."""
        return (
            self.report.exact
            and not (self.spool["lost"] or self.spool["waiting"])
            and (self.audit is None or self.audit["verdict"] == "clean")
            and (self.rejects is None or self.rejects["verdict"] == "exact")
            and (self.lake is None or self.lake.exact)
            and (self.alarms is None or self.alarms["verdict"] == "exact")
            and (self.commands is None or self.commands["verdict"] == "exact")
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the keys of a demo's report, and the simulator's own."""
        document = self.report.as_dict()
        return {
            **document,
            "verdict": "exact" if self.exact else "inexact",
            "differences": document["differences"] + (self.lake.differences if self.lake else []),
            "scenario": self.scenario.name,
            "played": msgspec.to_builtins(self.scenario),
            "seed": self.seed,
            "faults": self.faults,
            "spool": self.spool,
            "fleets": self.fleets,
            "samples": self.samples,
            "notices": self.notices,
            **({"audit": self.audit} if self.audit is not None else {}),
            **({"rejects": self.rejects} if self.rejects is not None else {}),
            **({"lake": self.lake.as_dict()} if self.lake is not None else {}),
            **({"alarms": self.alarms} if self.alarms is not None else {}),
            **({"commands": self.commands} if self.commands is not None else {}),
        }


def play(
    target: Target,
    scenario: Scenario,
    *,
    seed: int,
    folder: Path,
    ledger_path: Path,
    via: str,
    stopping: Callable[[], bool],
    status: WorkerStatus | None = None,
    exclusive: bool = False,
    before: int = 0,
) -> Played:
    """Make the fleets, play, wait for the archive, compare. ``status`` is the worker's, where it
    runs here; ``before`` is what the archive held already.

    :raises UserError: when fleets cannot be made, or a fleet's process fails.
    """
    names = fleet_names(scenario, target.settings.stack)
    kinds = [(n, fleet.type) for fleet in scenario.fleets for n in names[fleet.name]]
    with removed_from_aws(target, [name for name, _ in kinds] if via == "mqtt" else []):
        if via == "mqtt":
            provision_fleet(target, kinds, group=GROUP)
        setup = Setup(
            devices_dir=target.settings.devices_dir.absolute(),
            spools=folder.absolute() / "spools",
            ledger=ledger_path.absolute(),
            names=names,
            stream=None if via == "mqtt" else stream_target(target),
        )
        new_ledger(target, ledger_path, seed).close()
        watched = replace(scenario, rule=scenario.rule if exclusive else [])
        with alarms_at_work(target, watched, folder / "heard.jsonl") as heard:
            with commands_at_work(target, scenario, setup, seed):
                director = direct(scenario, setup, seed=seed, stopping=stopping, status=status)
            await_archived(target, ledger_path, before)
            report = verify_settled(target, ledger_path, exclusive=exclusive)
            alarms = compare_alarms(target, ledger_path, heard).as_dict() if heard else None
        devices = [name for name, _ in kinds]
        audit = audit_of(target, ledger_path, devices)
        redriven = lake = None
        if exclusive:
            own = of_run(target, folder)
            update_lake(own)
            redriven = redrive_early(target, ledger_path, devices)
            update_lake(own)
            lake = check_lake(own, report.accepted | redriven.accepted)
    return Played(
        scenario=scenario,
        seed=seed,
        report=report,
        spool=spool_counts(director.fleets.values(), read_entries(ledger_path)),
        faults=read_faults(ledger_path),
        fleets={name: fleet_facts(run) for name, run in director.fleets.items()},
        samples=samples_of(director),
        notices=notices_of(director),
        audit=audit,
        rejects=redriven and redriven.result,
        lake=lake,
        alarms=alarms,
        commands=commands_of(ledger_path),
    )


def direct(
    scenario: Scenario,
    setup: Setup,
    *,
    seed: int,
    stopping: Callable[[], bool],
    status: WorkerStatus | None = None,
    incarnation: int = 0,
) -> Director:
    """Play with fleets that have their certificates, into a ledger that exists, showing progress;
    the director, which has the results. ``incarnation`` is how many processes each fleet had
    before: they go on with what those left in their spools.

    :raises UserError: when a fleet's process fails.
    """
    director = Director(scenario, setup, seed=seed, stopping=stopping, extra=_worker_facts(status))
    for run in director.fleets.values():
        run.incarnation = incarnation
    try:
        with watching(director):
            asyncio.run(director.run())
    except FleetError as error:
        raise UserError(str(error)) from None
    return director


def samples_of(director: Director) -> list[dict[str, Any]]:
    """Its samples, for JSON."""
    return [
        {"at": s.at, "connected": s.connected, "taken": s.taken, "acked": s.acked,
         "waiting": s.waiting, "ack_p50": s.ack_ms["p50"], "ack_p99": s.ack_ms["p99"], **s.extra}
        for s in director.samples
    ]  # fmt: skip


def notices_of(director: Director) -> list[str]:
    """What its fleets found worth a sentence."""
    return [n for run in director.fleets.values() for n in run.notices]


def fleet_names(scenario: Scenario, stack: str) -> dict[str, list[str]]:
    """New names for every fleet's devices."""
    run = secrets.token_hex(3)
    return {
        fleet.name: [
            simulated(stack, f"{_slug(fleet.name)}-{run}-{i:0{len(str(fleet.devices))}d}")
            for i in range(fleet.devices)
        ]
        for fleet in scenario.fleets
    }  # fmt: skip


def stream_target(target: Target) -> StreamTarget:
    """Where a fleet that leaves out the broker puts its records, with the simulator's role."""
    settings = target.settings
    keys = target.session("simulator").get_credentials()
    frozen = keys.get_frozen_credentials() if keys else None
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise UserError("there are no AWS credentials to put records with")
    return StreamTarget(
        stream=settings.stream,
        region=settings.region,
        stack=settings.stack,
        endpoint_url=settings.endpoint_url,
        keys={
            "aws_access_key_id": frozen.access_key,
            "aws_secret_access_key": frozen.secret_key,
            **({"aws_session_token": frozen.token} if frozen.token else {}),
        },
    )


def spool_counts(runs: Iterable[FleetProgress], entries: Iterable[Entry]) -> dict[str, int]:
    """What became of every number that the devices gave to a reading: ``lost`` ones were never
    acknowledged, and are neither waiting nor dropped."""
    acked: dict[tuple[str, str], set[int]] = defaultdict(set)
    for entry in entries:
        if entry.expect == OK and entry.acked_at is not None:
            acked[entry.device, entry.boot].update(range(entry.seq, entry.seq + entry.readings))
    runs = list(runs)
    numbered = lost = 0
    for run in runs:
        for device, (boot, seq) in run.over.numbers.items():
            numbered += seq
            lost += seq - len(acked[device, boot] & set(range(seq)))
    waiting = sum(run.status.waiting for run in runs)
    dropped = sum(run.status.dropped for run in runs)
    return {
        "numbered": numbered,
        "lost": max(0, lost - waiting - dropped),
        "waiting": waiting,
        "dropped": dropped,
        "refused": sum(run.total("refused") for run in runs),
    }


def fleet_facts(run: FleetProgress) -> dict[str, Any]:
    """One fleet in figures; memory and CPU are of its process, the interpreter included."""
    devices = run.fleet.devices
    latency = run.latency()
    return {
        "devices": devices,
        "incarnations": run.incarnation,
        "connections": run.total("connections"),
        "acknowledged_messages": run.total("acked"),
        "ack_ms": _percentiles(latency),
        "rss_mb": round(run.over.rss_kb / 1024, 1),
        "rss_kb_per_device": round(run.over.rss_kb / devices, 1),
        "cpu_s": round(run.total("cpu_s"), 2),
        "cpu_ms_per_device": round(run.total("cpu_s") * 1000 / devices, 1),
    }


def _percentiles(histogram: Histogram) -> dict[str, float | None]:
    return {f"p{round(100 * s)}": histogram.percentile(s) for s in (0.5, 0.95, 0.99)}


def _worker_facts(status: WorkerStatus | None) -> Callable[[], Mapping[str, Any]]:
    """What the worker adds to a sample: readings durable so far, lag, and the latency since the
    last sample (ms)."""
    if status is None:
        return dict
    seen: dict[int, int] = {}

    def facts() -> Mapping[str, Any]:
        snapshot = status.snapshot()
        counts = status.latency().counts
        fresh = {b: n - seen.get(b, 0) for b, n in counts.items() if n > seen.get(b, 0)}
        seen.update(counts)
        newest = Histogram(fresh)
        return {
            "durable": snapshot["durable"],
            "lag_ms": snapshot["lag_ms"] or 0,
            "p50": newest.percentile(0.5),
            "p99": newest.percentile(0.99),
        }

    return facts


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower())[:40]
