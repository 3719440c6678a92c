"""``penstock device claim``: create, list and revoke claims."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import rich_click as click
from rich.table import Table

from devices import identity
from devices.errors import DeviceError
from devices.provisioning.claims import create_claim, list_claims, revoke_claim
from devices.provisioning.registry import Clients
from infra.commands.options import aws_option, json_option
from infra.commands.write_target import find_operator_target
from infra.console import STDOUT, UserError, print_json, say
from infra.target import Target, find_target, refusals_as

SHOWN: int = 12
"""Characters of a claim's id that tables show; ``revoke`` takes them."""


@click.group("claim")
def claim_() -> None:
    """Create, list and revoke claims, with which announced devices provision themselves."""


@claim_.command("create")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--days", default=90.0, show_default=True, type=click.FloatRange(0, 3650, min_open=True),
    help="How long it can provision devices.",
)  # fmt: skip
@aws_option
def create(folder: Path, days: float, aws: bool) -> None:
    """Create a claim in FOLDER: a certificate that can provision announced devices.

    Put the folder on devices when they are made. Whoever has it can take the name of a device
    that was announced and is not provisioned yet, and can do nothing else.
    """
    if (folder / identity.CERTIFICATE).exists():
        raise UserError(f"{folder} holds a certificate already: name another folder")
    target = find_operator_target("create a claim", aws=aws)
    try:
        with refusals_as("AWS refuses to create a claim"):
            made = create_claim(
                _clients(target), target.settings, folder, days=days, now_s=time.time()
            )
    except DeviceError as error:
        raise UserError(str(error)) from None
    say(f"claim {made.claim_id[:SHOWN]} is in {folder}, until {_day(made.expires_at)}")


@claim_.command("list")
@json_option
@aws_option
def list_(as_json: bool, aws: bool) -> None:
    """List the stack's claims, the newest first."""
    target = find_target(aws=aws)
    with refusals_as("AWS refuses to list claims"):
        claims = list_claims(target.client("dynamodb", "operator"), target.settings)
    now_s = time.time()
    if as_json:
        print_json(
            [
                {
                    "claim": one.claim_id,
                    "state": one.state(now_s),
                    "created_at": one.created_at,
                    "expires_at": one.expires_at,
                    "revoked_at": one.revoked_at,
                }
                for one in claims
            ]
        )
        return
    table = Table("claim", "state", "created", "expires")
    for one in claims:
        table.add_row(
            one.claim_id[:SHOWN], one.state(now_s), _day(one.created_at), _day(one.expires_at)
        )
    STDOUT.print(table)


@claim_.command("revoke")
@click.argument("claim")
@aws_option
def revoke(claim: str, aws: bool) -> None:
    """Revoke the CLAIM whose id begins so: it provisions no device any more.

    Devices that it has provisioned have certificates of their own, and keep them.
    """
    target = find_operator_target(f"revoke the claim {claim}", aws=aws)
    try:
        with refusals_as("AWS refuses to revoke the claim"):
            revoked = revoke_claim(_clients(target), target.settings, claim, now_s=time.time())
    except DeviceError as error:
        raise UserError(str(error)) from None
    say(f"claim {revoked.claim_id[:SHOWN]} is revoked")


def _clients(target: Target) -> Clients:
    return Clients(target.client("iot", "operator"), target.client("dynamodb", "operator"))


def _day(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC"
