"""``penstock device create``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from devices import identity
from devices.errors import DeviceError
from devices.provisioning.registry import Clients, create_device
from devices.token_key import TokenKey
from infra.commands.options import attributes_options, aws_option, json_option
from infra.commands.write_target import find_operator_target
from infra.console import STDOUT, UserError, print_json
from infra.target import refusals_as


@click.command("create")
@click.argument("name")
@attributes_options
@click.option(
    "--csr",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A signing request (PEM) for a key in a PKCS#11 token, signed by the token. Its PIN is "
    "in PENSTOCK_TOKEN_PIN when the device runs.",
)
@click.option("--pkcs11-library", metavar="PATH", help="The token's PKCS#11 library; with --csr.")
@click.option("--pkcs11-token", metavar="LABEL", help="The token, when there are several.")
@click.option("--pkcs11-key", metavar="LABEL", help="The private key, when there are several.")
@json_option
@aws_option  # fmt: skip
def create_(
    name: str,
    group: str,
    kind: str,
    csr: Path | None,
    pkcs11_library: str | None,
    pkcs11_token: str | None,
    pkcs11_key: str | None,
    as_json: bool,
    aws: bool,
) -> None:
    """Create the thing NAME with its own certificate.

    The private key is generated on this machine, is readable by you alone, and is never sent.
    Any MQTT client can use the files: see docs/devices.md.
    """
    if (csr is None) != (pkcs11_library is None):
        raise click.UsageError("a key in a token needs both --csr and --pkcs11-library")
    token = TokenKey(pkcs11_library, pkcs11_token, pkcs11_key) if pkcs11_library else None
    target = find_operator_target(f"create device {name}", aws=aws)
    clients = Clients(target.client("iot", "operator"), target.client("dynamodb", "operator"))
    try:
        with refusals_as(f"AWS IoT refuses to create {name}"):
            made = create_device(
                clients, target.settings, name, group=group, kind=kind,
                request=csr.read_text() if csr else None, token=token,
            )  # fmt: skip
    except DeviceError as error:
        raise UserError(str(error)) from None
    if as_json:
        print_json(identity.as_dict(made))
        return
    for line in (
        f"created {name}",
        f"  folder       {made.certificate_path.parent}",
        f"  certificate  {made.certificate_path}",
        f"  private key  {identity.as_dict(made)['private_key']}",
        f"  broker       {made.config.host}:{made.config.port}",
        f"run it with: echo '{{\"temperature\": 21.5}}' | penstock device run {name}",
    ):
        STDOUT.print(line, markup=False)
