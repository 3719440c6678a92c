"""``penstock device list``."""

from __future__ import annotations

import rich_click as click
from rich.table import Table

from devices import identity
from devices.certificate import expires_at
from devices.provisioning.registry import list_things
from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, print_json
from infra.target import find_target
from ingest.settings import Settings


@click.command("list")
@json_option
@aws_option
def list_(as_json: bool, aws: bool) -> None:
    """List the things of this stack, and which have their certificate on this machine."""
    target = find_target(aws=aws)
    here = set(identity.known(target.settings.devices_dir))
    things = sorted(
        list_things(target.client("iot", "operator"), target.settings),
        key=lambda thing: str(thing["device"]),
    )
    rows = [
        {
            **thing,
            "certificate_here": thing["device"] in here,
            "expires": _expires(target.settings, thing["device"]),
        }
        for thing in things
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("device", "group", "type", "certificate here", "expires")
    for row in rows:
        mark = "yes" if row["certificate_here"] else "no"
        table.add_row(row["device"], row.get("group", ""), row.get("type", ""), mark,
                      row["expires"] or "")  # fmt: skip
    STDOUT.print(table)


def _expires(settings: Settings, name: str) -> str | None:
    """The day on which the certificate on this machine ends."""
    end = expires_at(settings.devices_dir / name / identity.CERTIFICATE)
    return f"{end:%Y-%m-%d}" if end else None
