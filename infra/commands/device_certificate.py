"""``penstock device rotate`` and ``revoke``."""

from __future__ import annotations

import asyncio
from typing import Final

import rich_click as click

from devices import identity
from devices.errors import DeviceError
from devices.identity import Identity
from devices.mqtt.connection import Connection
from devices.provisioning.rotation import revoke, rotate
from infra.commands.device_folder import at_current_broker
from infra.commands.options import aws_option
from infra.commands.write_target import find_operator_target
from infra.console import STDOUT, UserError
from infra.target import refusals_as

CONNECT_S: Final = 20.0


@click.command("rotate")
@click.argument("name")
@aws_option
def rotate_(name: str, aws: bool) -> None:
    """Give the device NAME a new certificate, and revoke the old one.

    The new one is tested first. A device that runs meanwhile reconnects with it within seconds and
    loses nothing. When this is interrupted, run it again.
    """
    target = find_operator_target(f"rotate the certificate of {name}", aws=aws)
    settings = target.settings
    iot = target.client("iot", "operator")
    try:
        device = identity.load(settings.devices_dir, name)
        with refusals_as(f"AWS IoT refuses to rotate {name}"):
            made = rotate(
                iot, settings, device, lambda new: _connect(at_current_broker(new, settings))
            )
    except DeviceError as error:
        raise UserError(str(error)) from None
    new = made.config.certificate_id[:12]
    STDOUT.print(f"{name} has a new certificate, {new}…; the old one is revoked", markup=False)


@click.command("revoke")
@click.argument("name")
@aws_option
def revoke_(name: str, aws: bool) -> None:
    """Revoke the certificates of the device NAME: it cannot connect any more.

    Its readings wait in its spool. To let it connect again, give it a new certificate: `penstock
    device announce` and `provision`, or move its folder away and `create` it again.
    """
    target = find_operator_target(f"revoke the certificates of {name}", aws=aws)
    try:
        with refusals_as(f"AWS IoT refuses to revoke {name}"):
            count = revoke(target.client("iot", "operator"), target.settings, name)
    except DeviceError as error:
        raise UserError(str(error)) from None
    STDOUT.print(f"{name}: {count} certificates revoked", markup=False)


def _connect(new: Identity) -> None:
    async def connect() -> None:
        connection = Connection(new)
        await connection.open(CONNECT_S)
        await connection.stop()

    asyncio.run(connect())
