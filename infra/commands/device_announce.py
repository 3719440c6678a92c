"""``penstock device announce``: which devices may provision themselves."""

from __future__ import annotations

import rich_click as click

from devices.errors import DeviceError
from devices.provisioning.registry import Clients, announce
from infra.commands.options import attributes_options, aws_option
from infra.commands.write_target import find_operator_target
from infra.console import UserError, say


@click.command("announce")
@click.argument("names", nargs=-1, required=True)
@attributes_options
@aws_option
def announce_(names: tuple[str, ...], group: str, kind: str, aws: bool) -> None:
    """Allow the devices NAMES to provision themselves with a claim, once each.

    Group and type are those given here, whatever the device sends. Announce a device again when
    it has lost its certificate.
    """
    target = find_operator_target(f"announce {len(names)} devices", aws=aws)
    clients = Clients(target.client("iot", "operator"), target.client("dynamodb", "operator"))
    try:
        for name in names:
            announce(clients, target.settings, name, group=group, kind=kind)
    except DeviceError as error:
        raise UserError(str(error)) from None
    say(f"{len(names)} announced; on each: penstock device provision NAME --claim FOLDER")
