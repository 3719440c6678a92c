"""A scenario's commands to its devices, sent while it runs, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.console import UserError
from infra.target import Target
from ingest.commands.store import CommandBusyError
from simulator.load.commander import Commander, orders_of
from simulator.load.director import Setup
from simulator.scenario import Scenario
from simulator.verification.commands import compare
from simulator.verification.ledger import read_commanded, read_effects


@contextmanager
def commands_at_work(target: Target, scenario: Scenario, setup: Setup, seed: int) -> Iterator[None]:
    """Send the scenario's commands while the body runs. Fleets that leave out the broker have no
    shadows to send to.

    :raises UserError: when AWS IoT refuses them, when the body has ended.
    """
    orders = [
        order
        for fleet in scenario.fleets
        for order in orders_of(fleet, setup.names[fleet.name], seed)
    ]
    if not orders or setup.stream is not None:
        yield
        return
    commander = Commander(target.client("iot-data", "simulator"), orders, setup.ledger)
    try:
        with commander.sending():
            yield
    except (BotoCoreError, ClientError, CommandBusyError) as error:
        raise UserError(f"AWS refuses commands to simulated devices: {error}") from None


def commands_of(ledger: Path) -> Mapping[str, Any] | None:
    """How a ledger's commands compare with what the devices did; ``None`` without commands."""
    commands = read_commanded(ledger)
    return compare(commands, read_effects(ledger)).as_dict() if commands else None
