"""Give a simulated fleet its things and certificates."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from devices.identity import Identity
from devices.provisioning.deletion import delete_device, delete_thing
from devices.provisioning.registry import Clients, create_fleet
from devices.provisioning.things import own_thing_exists
from infra.console import live, say
from infra.target import Target
from simulator.signals import kind_of

_PARALLEL: Final = 8


def simulated(stack: str, name: str) -> str:
    """The name of a simulated device: the simulator's role may make and remove things with this
    beginning only, so it never touches a real device, nor one of another stack."""
    return f"{stack}-sim-{name}"


def fleet_names(stack: str, count: int, kind: str = "mixed") -> list[tuple[str, str]]:
    """Names and kinds of a new fleet; the names of two fleets differ. ``mixed`` gives all kinds in
    turn."""
    prefix = simulated(stack, secrets.token_hex(3))
    width = max(3, len(str(count - 1)))
    return [
        (f"{prefix}-{i:0{width}d}", kind_of(i) if kind == "mixed" else kind) for i in range(count)
    ]


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


@contextmanager
def removed_from_aws(
    target: Target, names: Sequence[str], *, roster: bool = True
) -> Iterator[None]:
    """Remove a fleet when the body ends, however it ends; on a local stack its devices stay, for
    the page that shows them. ``roster`` is as :func:`remove_fleet` has it."""
    try:
        yield
    finally:
        if names and not target.local:
            remove_fleet(target, names, roster=roster)


def remove_fleet(target: Target, names: Sequence[str], *, roster: bool = True) -> None:
    """Delete a simulated fleet from AWS and from this machine, showing progress: its things, their
    certificates and its keys. What it sent stays. Its entries in the ``roster`` go too, unless a
    verification is still to read them."""
    iot, shadows = target.client("iot", "simulator"), target.client("iot-data", "simulator")
    dynamodb, settings = target.client("dynamodb", "simulator"), target.settings
    removed: list[str] = []

    def remove(name: str) -> None:
        if roster:
            delete_device(iot, shadows, dynamodb, settings, name)
        elif own_thing_exists(iot, settings, name):
            delete_thing(iot, shadows, name)
        shutil.rmtree(settings.devices_dir / name, ignore_errors=True)
        removed.append(name)

    with (
        live(lambda: f"  … {len(removed)} of {len(names)} simulated devices are removed"),
        ThreadPoolExecutor(_PARALLEL) as pool,
    ):
        for _ in pool.map(remove, names):
            pass
    say(f"the {len(names)} simulated devices are removed from {settings.stack}")
