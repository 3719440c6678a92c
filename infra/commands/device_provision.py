"""``penstock device provision``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from devices import identity
from devices.errors import DeviceError
from devices.provisioning.claim import provision
from devices.provisioning.mqtt import MqttRegistrar, load_claim
from infra.commands.device_folder import device_settings
from infra.commands.options import json_option
from infra.console import STDOUT, UserError, print_json


@click.command("provision")
@click.argument("name")
@click.option(
    "--claim", "folder", required=True, help="The claim's folder.",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)  # fmt: skip
@json_option
def provision_(name: str, folder: Path, as_json: bool) -> None:
    """Make this machine the device NAME, with a claim and no AWS credentials.

    The private key is generated here, is readable by you alone, and is never sent. When this is
    interrupted, run it again: it continues where it was.
    """
    settings = device_settings()
    try:
        deployment = load_claim(folder)
        if identity.exists(settings.devices_dir, name):
            raise UserError(f"{name} has a certificate in {settings.devices_dir} already")
        with MqttRegistrar(folder, deployment, name) as registrar:
            made = provision(registrar, deployment, settings.devices_dir, name)
    except DeviceError as error:
        raise UserError(str(error)) from None
    if as_json:
        print_json(identity.as_dict(made))
        return
    STDOUT.print(f"provisioned {name}: {made.folder}", markup=False)
