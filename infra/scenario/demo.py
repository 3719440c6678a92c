"""``penstock demo --scenario``: a scenario on a local stack, from its start to the verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.console import Stages
from infra.local.stack import LocalStack
from infra.scenario.play import Played, play
from infra.simulation.run_meter import RunMeter
from simulator.scenario import Scenario


def play_locally(
    stack: LocalStack,
    stages: Stages,
    scenario: Scenario,
    *,
    seed: int,
    directory: Path,
    started: float,
    stopping: Callable[[], bool],
    via: str = "mqtt",
) -> tuple[Played, dict[str, Any]]:
    """Play it on a stack that has just started; the result, and its document. ``started`` is
    when the user typed the command (s since the epoch)."""
    meter = RunMeter(stack.target)
    with stages.stage("leases", "the worker holds every shard"):
        stack.await_shards(stopping)
    with stages.stage(
        "scenario", f"{scenario.name} is played, drained and compared", cut_short=False
    ):
        played = play(
            stack.target, scenario, seed=seed, folder=directory,
            ledger_path=directory / "ledger.sqlite", via=via, stopping=stopping,
            status=stack.worker.status, exclusive=True,
        )  # fmt: skip
    cost = meter.read(scenario.devices)
    played = replace(played, cost=cost)
    snapshot = stack.worker.status.snapshot()
    first = snapshot["first_durable_at"]
    document = {
        **played.as_dict(),
        "latency_ms": snapshot["latency_ms"],
        "live_latency_ms": snapshot["live_latency_ms"],
        "longest_stall_s": snapshot["longest_stall_ms"] / 1000,
        "startup_s": stages.seconds,
        "time_to_first_window_s": None if first is None else round(first / 1000 - started, 2),
        "restarts": snapshot["restarts"],
        "conflicts": snapshot["conflicts"],
        "aws": cost.document(),
    }
    return played, document
