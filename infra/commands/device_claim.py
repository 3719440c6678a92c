"""``penstock device announce`` and ``claim``: what fleet provisioning needs beforehand."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from devices import identity
from devices.errors import DeviceError
from devices.provisioning.registry import Clients, announce, create_claim
from infra.commands.options import attributes_options, aws_option
from infra.commands.write_target import find_write_target
from infra.console import UserError, say
from infra.target import refusals_as


@click.command("announce")
@click.argument("names", nargs=-1, required=True)
@attributes_options
@aws_option
def announce_(names: tuple[str, ...], group: str, kind: str, aws: bool) -> None:
    """Allow the devices NAMES to provision themselves with a claim, once each.

    Group and type are those given here, whatever the device sends. Announce a device again when
    it has lost its certificate.
    """
    target = find_write_target(f"announce {len(names)} devices", aws=aws)
    clients = Clients(target.client("iot", "operator"), target.client("dynamodb", "operator"))
    try:
        for name in names:
            announce(clients, target.settings, name, group=group, kind=kind)
    except DeviceError as error:
        raise UserError(str(error)) from None
    say(f"{len(names)} announced; on each: penstock device provision NAME --claim FOLDER")


@click.command("claim")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@aws_option
def claim_(folder: Path, aws: bool) -> None:
    """Create a claim in FOLDER: a certificate that can provision announced devices.

    Put the folder on devices when they are made. Whoever has it can take the name of a device
    that was announced and is not provisioned yet, and can do nothing else. Revoke it with AWS IoT.
    """
    if (folder / identity.CERTIFICATE).exists():
        raise UserError(f"{folder} holds a certificate already: name another folder")
    target = find_write_target("create a claim", aws=aws)
    clients = Clients(target.client("iot", "operator"), target.client("dynamodb", "operator"))
    try:
        with refusals_as("AWS IoT refuses to create a claim"):
            certificate_id = create_claim(clients, target.settings, folder)
    except DeviceError as error:
        raise UserError(str(error)) from None
    say(f"claim {certificate_id[:12]}… is in {folder}")
