"""``penstock device announce``, ``claim``, ``provision``, ``rotate`` and ``revoke``."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import rich_click as click

from devices import identity
from devices.identity import Identity, IdentityError
from devices.mqtt.connection import ConnectError, Connection
from devices.provisioning import registry as provision
from devices.provisioning.claim import ClaimError
from devices.provisioning.claim import provision as provision_itself
from devices.provisioning.mqtt import MqttRegistrar, load_claim
from devices.provisioning.registry import Clients
from devices.provisioning.rotation import revoke as revoke_all
from devices.provisioning.rotation import rotate as rotate_certificate
from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, UserError, print_json, say
from infra.target import Target, find_target, refusals_as
from ingest.settings import Settings, load

PROOF_S = 20.0


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--group", default="default", show_default=True, help="A site, a line, a customer.")
@click.option("--type", "kind", default="generic", show_default=True, help="What they are.")
@aws_option
def announce(names: tuple[str, ...], group: str, kind: str, aws: bool) -> None:
    """Let the devices NAMES provision themselves with a claim, each once.

    Group and type are what you say here, whatever a device says of itself. Announce a device
    again when it has lost its certificate.
    """
    target = find_target(aws=aws)
    dynamodb = target.client("dynamodb", "simulator")
    try:
        for name in names:
            provision.announce(dynamodb, target.settings, name, group=group, kind=kind)
    except IdentityError as error:
        raise UserError(str(error)) from None
    say(f"{len(names)} announced; on each: penstock device provision NAME --claim FOLDER")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@aws_option
def claim(folder: Path, aws: bool) -> None:
    """Make a claim in FOLDER: a certificate that can provision announced devices.

    Put the folder on devices when they are made. Whoever has it can take the place of a device
    that was announced and has not come yet, and can do nothing else. Revoke it with AWS IoT.
    """
    target = find_target(aws=aws)
    if (folder / identity.CERTIFICATE).exists():
        raise UserError(f"{folder} holds a certificate already: name another folder")
    with refusals_as("AWS IoT refuses to make a claim"):
        number = provision.create_claim(_clients(target), target.settings, folder)
    say(f"claim {number[:12]}… is in {folder}")


@click.command("provision")
@click.argument("name")
@click.option(
    "--claim", "folder", required=True, help="The claim's folder.",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)  # fmt: skip
@json_option
def provision_(name: str, folder: Path, as_json: bool) -> None:
    """Make this machine the device NAME, with a claim and no AWS credentials.

    The private key is made here, is readable by you alone, and never leaves. Run it again when
    it was interrupted: it goes on where it was.
    """
    settings = _device_settings()
    try:
        place = load_claim(folder)
        if identity.exists(settings.devices_dir, name):
            raise UserError(f"{name} has a certificate in {settings.devices_dir} already")
        with MqttRegistrar(folder, place, name) as registrar:
            made = provision_itself(registrar, place, settings.devices_dir, name)
    except (ClaimError, IdentityError) as error:
        raise UserError(str(error)) from None
    if as_json:
        print_json(identity.as_dict(made))
        return
    STDOUT.print(f"provisioned {name}: {made.folder}", markup=False)


@click.command()
@click.argument("name")
@aws_option
def rotate(name: str, aws: bool) -> None:
    """Give the device NAME a new certificate, and revoke the old one.

    The new one is tried first. A device that runs meanwhile is interrupted for a moment, goes on
    with the new one within seconds, and loses nothing. Run it again when it was interrupted.
    """
    target = find_target(aws=aws)
    settings = target.settings
    try:
        who = identity.load(settings.devices_dir, name)
        with refusals_as(f"AWS IoT refuses to rotate {name}"):
            made = rotate_certificate(
                target.client("iot", "simulator"), settings, who, lambda new: _prove(new, settings)
            )
    except (IdentityError, ConnectError) as error:
        raise UserError(str(error)) from None
    STDOUT.print(f"{name} has a new certificate, {made.facts.certificate_id[:12]}…; the old one "
                 "is revoked", markup=False)  # fmt: skip


@click.command()
@click.argument("name")
@aws_option
def revoke(name: str, aws: bool) -> None:
    """Cut the device NAME off: revoke its certificates.

    What it measures waits in its spool. Let it in again with a new certificate: `penstock device
    announce` and `provision`, or move its folder away and `create` it again.
    """
    target = find_target(aws=aws)
    with refusals_as(f"AWS IoT refuses to revoke {name}"):
        count = revoke_all(target.client("iot", "simulator"), target.settings, name)
    STDOUT.print(f"{name}: {count} certificates revoked", markup=False)


def _prove(new: Identity, settings: Settings) -> None:
    """Connect with it, at the broker that the settings name."""
    if settings.iot_host is not None:
        ca = str(settings.iot_ca) if settings.iot_ca else None
        facts = replace(new.facts, host=settings.iot_host, port=settings.iot_port, ca_path=ca)
        new = replace(new, facts=facts)

    async def connect() -> None:
        connection = Connection(new)
        await connection.open(PROOF_S)
        await connection.stop()

    asyncio.run(connect())


def _device_settings() -> Settings:
    """Of the local stack when one is up here, else of the environment; no AWS account is asked."""
    from infra.runfile import running_stack

    stack = running_stack()
    return load(**stack.settings) if stack else load()


def _clients(target: Target) -> Clients:
    return Clients(target.client("iot", "simulator"), target.client("dynamodb", "simulator"))
