"""Give a simulated fleet its things and certificates."""

from __future__ import annotations

import secrets

from devices.identity import Identity
from devices.provisioning.registry import Clients, create_fleet
from infra.console import live
from infra.target import Target
from simulator.signals import kind_of


def simulated(stack: str, name: str) -> str:
    """The name of a simulated device: the simulator's role may make and remove things with this
    beginning only, so it never touches a real device, nor one of another stack."""
    return f"{stack}-sim-{name}"


def fleet_names(stack: str, count: int) -> list[tuple[str, str]]:
    """Names and kinds of a new fleet; the names of two fleets differ."""
    prefix = simulated(stack, secrets.token_hex(3))
    width = max(3, len(str(count - 1)))
    return [(f"{prefix}-{i:0{width}d}", kind_of(i)) for i in range(count)]


def provision_fleet(target: Target, names: list[tuple[str, str]], *, group: str) -> list[Identity]:
    """Create a fleet's things, certificates and roster entries, showing progress.

    ``names`` are pairs of device name and type; the identities come back in the same order.
    """
    clients = Clients(target.client("iot", "simulator"), target.client("dynamodb", "simulator"))
    made = 0

    def count() -> None:
        nonlocal made
        made += 1

    with live(lambda: f"  … {made} of {len(names)} certificates"):
        return create_fleet(clients, target.settings, names, group=group, made=count)
