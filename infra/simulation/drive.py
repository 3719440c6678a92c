"""Let a provisioned fleet publish its load, and write the ledger of what it sends."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices.errors import ConnectError
from devices.identity import Identity
from infra.console import UserError, live
from infra.target import Target
from simulator.load.fleet import Fleet, Load
from simulator.verification.ledger import Ledger, Meta


def drive(
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

        async def publish() -> list[str]:
            running = Fleet(fleet, load, ledger, stopping=stopping)
            with live(lambda: _live_line(running, ledger, snapshot())):
                return (await running.run()).failed

        try:
            failed = asyncio.run(publish())
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


def _live_line(fleet: Fleet, ledger: Ledger, snapshot: dict[str, Any] | None) -> str:
    line = (
        f"  … {fleet.progress.connected} connected, {ledger.sent} sent, {ledger.acked} acknowledged"
    )
    if snapshot:
        p99 = snapshot["latency_ms"]["p99"]
        line += f", {snapshot['durable']} durable"
        line += f", p99 {p99:.0f} ms" if p99 is not None else ""
    return line
