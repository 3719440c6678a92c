"""``penstock demo``: the whole path once, bounded, and judged.

Starts a local stack, provisions a fleet, drives its load, waits until everything is folded and
archived, and compares the ledger with what is there.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from devices.identity import Identity
from devices.mqtt.client import ConnectError
from devices.provisioning.registry import Clients as ProvisionClients
from devices.provisioning.registry import create_fleet
from infra.console import Stages, UserError, live
from infra.local.stack import LocalStack
from infra.target import Target
from simulator.load.fleet import Fleet, Load
from simulator.signals import kind_of
from simulator.verification.ledger import (
    Ledger,
    LedgerError,
    Meta,
    read_entries,
    read_faults,
    read_meta,
)
from simulator.verification.observe import ArchivedCounter, observe
from simulator.verification.observe import Clients as ReadClients
from simulator.verification.oracle import Rules
from simulator.verification.verifier import Report, verify

DRAIN_S: Final = 90.0
SETTLE_S: Final = 5.0


@dataclass(frozen=True)
class DemoRun:
    """What a demo found, for ``infra.simulation.report``."""

    report: Report
    faults: dict[str, int]
    snapshot: dict[str, Any]
    stages: dict[str, float]
    first_window_s: float | None
    seed: int
    ledger: Path


def run_demo(
    stack: LocalStack,
    stages: Stages,
    load: Load,
    *,
    devices: int,
    directory: Path,
    started: float,
    stopping: Callable[[], bool],
) -> DemoRun:
    """Drive a fleet through a running local stack, and verify; ``started`` is when the user
    typed the command (s since the epoch)."""
    target = stack.target
    if stopping():
        raise KeyboardInterrupt
    with stages.stage("provision", f"{devices} devices have their certificates"):
        fleet = provision(target, fleet_names(devices), group="demo")
    with stages.stage("leases", "the worker holds every shard"):
        stack.await_shards(stopping)
    if stopping():
        raise KeyboardInterrupt
    ledger_path = directory / "ledger.sqlite"
    with stages.stage("load", "load is driven and acknowledged"):
        simulate(target, fleet, load, ledger_path, stack.worker.status.snapshot, stopping)
    with stages.stage("drain", "everything is folded and archived"):
        await_archived(target, ledger_path)
    with stages.stage("verify", "every reading is compared"):
        report = verify_settled(target, ledger_path, exclusive=True)
    snapshot = stack.worker.status.snapshot()
    first = snapshot["first_durable_at"]
    return DemoRun(
        report=report,
        faults=read_faults(ledger_path),
        snapshot=snapshot,
        stages=stages.seconds,
        first_window_s=None if first is None else round(first / 1000 - started, 2),
        seed=load.seed,
        ledger=ledger_path,
    )


def fleet_names(count: int, prefix: str | None = None) -> list[tuple[str, str]]:
    """Names and kinds of a new fleet; the names of two fleets differ."""
    prefix = prefix or f"sim-{secrets.token_hex(3)}"
    width = max(3, len(str(count - 1)))
    return [(f"{prefix}-{i:0{width}d}", kind_of(i)) for i in range(count)]


def provision(target: Target, names: list[tuple[str, str]], *, group: str) -> list[Identity]:
    """Create a fleet's things and certificates, showing how far it is."""
    clients = ProvisionClients(
        target.client("iot", "simulator"), target.client("dynamodb", "simulator")
    )
    made = 0

    def count() -> None:
        nonlocal made
        made += 1

    with live(lambda: f"  … {made} of {len(names)} certificates"):
        return create_fleet(clients, target.settings, names, group=group, made=count)


def simulate(
    target: Target,
    fleet: list[Identity],
    load: Load,
    ledger_path: Path,
    snapshot: Callable[[], dict[str, Any] | None],
    stopping: Callable[[], bool],
) -> None:
    """Drive the load over MQTT, writing the ledger and showing live counts.

    :raises UserError: when devices cannot connect.
    """
    with new_ledger(target, ledger_path, load.seed) as ledger:

        async def drive() -> list[str]:
            running = Fleet(fleet, load, ledger, stopping=stopping)
            with live(lambda: _live_line(running, ledger, snapshot())):
                return (await running.run()).failed

        try:
            failed = asyncio.run(drive())
        except ConnectError as error:
            raise UserError(str(error)) from None
    if failed:
        raise UserError(f"{len(failed)} of {len(fleet)} devices failed: {failed[0]}")


def new_ledger(target: Target, path: Path, seed: int) -> Ledger:
    """An empty ledger that knows the rules of this deployment."""
    settings = target.settings
    now = time.time_ns() // 1_000_000
    meta = Meta(
        run=secrets.token_hex(4),
        seed=seed,
        stack=settings.stack,
        started_at=now,
        tiers=settings.tiers,
        clock_ahead_s=settings.clock_ahead_s,
    )
    return Ledger(path, meta, lambda: time.time_ns() // 1_000_000)


def await_archived(target: Target, ledger_path: Path, before: int = 0) -> None:
    """Wait until as many records are archived as were acknowledged, on top of ``before``; give
    up after a while, and let the verifier say what is missing."""
    wanted = before + sum(entry.acked_at is not None for entry in read_entries(ledger_path))
    counter = archived_counter(target)
    seen = 0
    deadline = time.monotonic() + DRAIN_S
    with live(lambda: f"  … {seen} of {wanted} records are archived"):
        while (seen := counter.count()) < wanted and time.monotonic() < deadline:
            time.sleep(0.2)


def archived_counter(target: Target) -> ArchivedCounter:
    """Counts what the archive holds."""
    return ArchivedCounter(target.client("s3", "simulator"), target.settings.bucket(target.account))


def verify_ledger(target: Target, path: Path, *, exclusive: bool) -> Report:
    """Compare a ledger with the deployment.

    :raises UserError: when the file is no ledger.
    """
    try:
        meta = read_meta(path)
        entries = list(read_entries(path))
    except LedgerError as error:
        raise UserError(str(error)) from None
    clients = ReadClients(target.client("dynamodb", "simulator"), target.client("s3", "simulator"))
    devices = None if exclusive else {entry.device for entry in entries}
    now = time.time()
    observed = observe(clients, target.settings, target.account, devices)
    rules = Rules(meta.tiers, meta.clock_ahead_s)
    return verify(entries, observed, rules, now_s=now, exclusive=exclusive)


def verify_settled(target: Target, path: Path, *, exclusive: bool) -> Report:
    """Compare until it is exact, or until nothing changes any more for as long as a segment may
    stay open: what is still on its way is no fault. More can be on its way than was acknowledged,
    so that a count does not tell when everything is there.

    :raises UserError: when the file is no ledger.
    """
    quiet_s = target.settings.segment_age_s + SETTLE_S
    report = verify_ledger(target, path, exclusive=exclusive)
    changed = time.monotonic()
    while not report.exact and time.monotonic() - changed < quiet_s:
        time.sleep(1.0)
        before, report = report, verify_ledger(target, path, exclusive=exclusive)
        if report.as_dict() != before.as_dict():
            changed = time.monotonic()
    return report


def _live_line(fleet: Fleet, ledger: Ledger, snapshot: dict[str, Any] | None) -> str:
    line = (
        f"  … {fleet.progress.connected} connected, {ledger.sent} sent, {ledger.acked} acknowledged"
    )
    if snapshot:
        p99 = snapshot["latency_ms"]["p99"]
        line += f", {snapshot['durable']} durable"
        line += f", p99 {p99:.0f} ms" if p99 is not None else ""
    return line
