"""Let a fleet send its load, and write the ledger of what it sends."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from devices.errors import ConnectError
from devices.identity import Identity
from infra.console import UserError, live
from infra.target import Target
from simulator.load.fleet import FleetRunner, run_fleet
from simulator.load.transport import KinesisTransport, MqttTransport, Transport
from simulator.scenario import Fleet
from simulator.verification.ledger import Ledger, Meta

MakeTransport = Callable[[], Transport]
"""Makes a transport on the event loop that is running."""


def over_mqtt(identities: Sequence[Identity]) -> MakeTransport:
    """Each device connects to the broker with its own certificate."""
    return lambda: MqttTransport({one.device_id: one for one in identities})


def into_stream(target: Target) -> MakeTransport:
    """What devices send is put into the stream as the topic rule would put it."""
    client = target.client("kinesis", "simulator")
    return lambda: KinesisTransport(client, target.settings.stream, target.settings.stack)


def drive(
    target: Target,
    fleet: Fleet,
    names: Sequence[str],
    transport: MakeTransport,
    *,
    seed: int,
    ledger_path: Path,
    snapshot: Callable[[], dict[str, Any] | None] = lambda: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Run the fleet to its end, writing the ledger and showing live counts. ``snapshot`` gives
    the worker's status where it runs in this process.

    :raises UserError: when devices cannot connect or are refused.
    """
    with new_ledger(target, ledger_path, seed) as ledger:

        async def send() -> list[str]:
            runner = FleetRunner(fleet, names, seed=seed, ledger=ledger, transport=transport())
            with live(lambda: _live_line(runner, snapshot())):
                return (await run_fleet(runner, stopping)).failed

        try:
            failed = asyncio.run(send())
        except ConnectError as error:
            raise UserError(str(error)) from None
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} devices failed: {failed[0]}")


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


def _live_line(runner: FleetRunner, snapshot: dict[str, Any] | None) -> str:
    status = runner.status()
    line = f"  … {status.connected} connected, {status.sent} sent, {status.acked} acknowledged"
    if snapshot:
        p99 = snapshot["latency_ms"]["p99"]
        line += f", {snapshot['durable']} durable"
        line += f", p99 {p99:.0f} ms" if p99 is not None else ""
    return line
