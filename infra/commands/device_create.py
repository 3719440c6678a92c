"""``penstock device create``."""

from __future__ import annotations

import rich_click as click

from devices import identity
from devices.errors import DeviceError
from devices.provisioning.registry import Clients, create_device
from infra.commands.options import attributes_options, aws_option, json_option
from infra.commands.write_target import find_write_target
from infra.console import STDOUT, UserError, print_json
from infra.target import refusals_as


@click.command("create")
@click.argument("name")
@attributes_options
@json_option
@aws_option
def create_(name: str, group: str, kind: str, as_json: bool, aws: bool) -> None:
    """Create the thing NAME with its own certificate.

    The private key is generated on this machine, is readable by you alone, and is never sent.
    Any MQTT client can use the files: see docs/devices.md.
    """
    target = find_write_target(f"create device {name}", aws=aws)
    clients = Clients(target.client("iot", "operator"), target.client("dynamodb", "operator"))
    try:
        with refusals_as(f"AWS IoT refuses to create {name}"):
            made = create_device(clients, target.settings, name, group=group, kind=kind)
    except DeviceError as error:
        raise UserError(str(error)) from None
    if as_json:
        print_json(identity.as_dict(made))
        return
    for line in (
        f"created {name}",
        f"  folder       {made.certificate_path.parent}",
        f"  certificate  {made.certificate_path}",
        f"  private key  {made.key_path}",
        f"  broker       {made.config.host}:{made.config.port}",
        f"run it with: echo '{{\"temperature\": 21.5}}' | penstock device run {name}",
    ):
        STDOUT.print(line, markup=False)
