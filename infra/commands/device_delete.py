"""``penstock device delete``."""

from __future__ import annotations

import os
import shutil

import rich_click as click

from devices.errors import DeviceError, SpoolBusyError
from devices.files import why_refused
from devices.provisioning.deletion import delete_device
from devices.spool.database import count_waiting
from devices.spool.disk import lock
from devices.spool.spool import FILE
from infra.commands.options import aws_option
from infra.commands.write_target import find_operator_target
from infra.console import STDOUT, UserError
from infra.target import refusals_as
from ingest.topic import check_device_id


@click.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete readings of its spool that were never sent, too.")
@aws_option
def delete_(name: str, yes: bool, aws: bool) -> None:
    """Delete the device NAME: certificates, thing, shadow, roster entry, and its folder here.

    Certificates are made inactive first. Its windows and its part of the archive stay. When this
    is interrupted, run it again.
    """
    try:
        check_device_id(name)
    except ValueError as error:
        raise UserError(str(error)) from None
    target = find_operator_target(f"delete device {name}", aws=aws)
    folder = target.settings.devices_dir / name
    if folder.exists():
        try:
            os.close(lock(folder))
        except SpoolBusyError:
            raise UserError(f"{name} is running here: stop it first") from None
    waiting = count_waiting(folder / FILE)
    if waiting and not yes:
        raise UserError(
            f"{waiting} readings in {folder} were never sent and would be lost: send them with "
            f"`penstock device run {name} < /dev/null`, or add --yes"
        )
    try:
        with refusals_as(f"AWS refuses to delete {name}"):
            certificates = delete_device(
                target.client("iot", "operator"),
                target.client("iot-data", "operator"),
                target.client("dynamodb", "operator"),
                target.settings,
                name,
            )
    except DeviceError as error:
        raise UserError(str(error)) from None
    if certificates is None and not folder.exists():
        raise UserError(f"there is no device {name}: `penstock device list` shows those that are")
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            why = why_refused(folder, error)
            raise UserError(f"{name} is deleted, but its folder {folder} is not: {why}") from None
    STDOUT.print(f"{name} is deleted, with {certificates or 0} certificates", markup=False)
