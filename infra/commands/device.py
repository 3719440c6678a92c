"""``penstock device``: things, certificates, and one real device."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import IO, Any, get_args

import rich_click as click
from botocore.exceptions import ClientError
from rich.table import Table

from devices import identity, provision
from devices.batch import BatchLimits
from devices.client import ConnectError, PublishRefusedError, TelemetryClient
from devices.identity import IdentityError
from devices.pace import Pace
from devices.presence import Presence
from devices.remote import Reporting
from devices.run import RunCounts, follow_shadow, run_device
from infra.commands.configure import configure
from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, UserError, print_json, say
from infra.target import Target, find_target
from ingest.message import Content
from ingest.settings import Settings


@click.group()
def device() -> None:
    """Make devices known, list them, and run one."""


@device.command()
@click.argument("name")
@click.option("--group", default="default", show_default=True, help="A site, a line, a customer.")
@click.option("--type", "kind", default="generic", show_default=True, help="What it is.")
@json_option
@aws_option
def create(name: str, group: str, kind: str, as_json: bool, aws: bool) -> None:
    """Create the thing NAME with a certificate of its own.

    The private key is made on this machine, is readable by you alone, and never leaves it.
    Any MQTT client can use the files: see docs/devices.md.
    """
    target = find_target(aws=aws)
    try:
        made = provision.create_device(
            _clients(target), target.settings, name, group=group, kind=kind
        )
    except IdentityError as error:
        raise UserError(str(error)) from None
    except ClientError as error:
        raise UserError(f"AWS IoT refuses to create {name}: {error}") from None
    if as_json:
        print_json(identity.as_dict(made))
        return
    STDOUT.print(f"created {name}", markup=False)
    STDOUT.print(f"  certificate  {made.certificate_path}", markup=False)
    STDOUT.print(f"  private key  {made.key_path}", markup=False)
    STDOUT.print(f"  broker       {made.facts.host}:{made.facts.port}", markup=False)
    STDOUT.print(
        f"run it with: echo '{{\"temperature\": 21.5}}' | penstock device run {name}", markup=False
    )


@device.command("list")
@json_option
@aws_option
def list_(as_json: bool, aws: bool) -> None:
    """List the things of this stack, and which have their certificate on this machine."""
    target = find_target(aws=aws)
    here = set(identity.known(target.settings.devices_dir))
    things = sorted(
        provision.list_things(target.client("iot", "simulator"), target.settings),
        key=lambda thing: str(thing["device"]),
    )
    rows = [{**thing, "certificate_here": thing["device"] in here} for thing in things]
    if as_json:
        print_json(rows)
        return
    table = Table("device", "group", "type", "certificate here")
    for row in rows:
        mark = "yes" if row["certificate_here"] else "no"
        table.add_row(row["device"], row.get("group", ""), row.get("type", ""), mark)
    STDOUT.print(table)


@device.command()
@click.argument("name")
@click.option(
    "--file",
    "source",
    type=click.File(),
    default="-",
    help="Readings as JSON lines.  [default: standard input]",
)
@click.option(
    "--batch",
    default=20,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Most readings in a message.",
)
@click.option(
    "--age",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.01, 3600),
    help="Most seconds that a reading waits for its message to fill.",
)
@click.option(
    "--interval",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 86_400),
    help="Least seconds between two readings; 0 takes them as they come.",
)
@click.option(
    "--content",
    default="json",
    show_default=True,
    type=click.Choice(get_args(Content)),
    help="How messages are written; cbor is a quarter smaller.",
)
@json_option
@aws_option  # fmt: skip
def run(
    name: str, source: IO[str], batch: int, age: float, interval: float, content: Content,
    as_json: bool, aws: bool,
) -> int:  # fmt: skip
    """Run the device NAME: publish each line of its input.

    A line is an object of metrics, {"temperature": 21.5, "door_open": false}, stamped with the
    time it is read; or {"ts": 1795420839206, "metrics": {...}} with the time of its own.

    Interval, batch and age can be changed while it runs: see `penstock device configure`.
    """
    settings = find_target(aws=aws).settings
    try:
        who = _at_its_broker(identity.load(settings.devices_dir, name), settings)
    except IdentityError as error:
        raise UserError(str(error)) from None
    if source.isatty():
        say("type readings, one JSON object a line; Ctrl-D ends")
    try:
        counts = asyncio.run(_run(who, source, Reporting(interval, batch, age), content))
    except (ConnectError, PublishRefusedError) as error:
        raise UserError(str(error)) from None
    return _told(name, counts, as_json)


device.add_command(configure)


def _at_its_broker(who: identity.Identity, settings: Settings) -> identity.Identity:
    """The identity with the broker that the settings name: a local stack's can move."""
    if settings.iot_host is None:
        return who
    ca = str(settings.iot_ca) if settings.iot_ca else None
    facts = replace(who.facts, host=settings.iot_host, port=settings.iot_port, ca_path=ca)
    return replace(who, facts=facts)


async def _run(
    who: identity.Identity, source: IO[str], reporting: Reporting, content: Content
) -> RunCounts:
    limits = BatchLimits(reporting.batch, age_s=reporting.age_s)
    presence, pace = Presence(who.device_id), Pace(reporting.interval_s)
    client = TelemetryClient(who, limits=limits, content=content, will=presence.will)
    presence.announce(client.connection)
    follow_shadow(client, reporting, pace, _complain)
    return await run_device(
        client,
        _lines(source),
        now_ms=lambda: time.time_ns() // 1_000_000,
        complain=_complain,
        pace=pace,
    )


def _complain(sentence: str) -> None:
    print(f"penstock: {sentence}", file=sys.stderr)


async def _lines(source: IO[str]) -> AsyncIterator[str]:
    while line := await asyncio.to_thread(source.readline):
        yield line


def _told(name: str, counts: RunCounts, as_json: bool) -> int:
    document: dict[str, Any] = {"device": name, **counts._asdict()}
    if as_json:
        print_json(document)
    else:
        say(f"{name}: {counts.readings} readings acknowledged, {counts.skipped} lines skipped")
    if counts.unacknowledged:
        raise UserError(
            f"{counts.unacknowledged} messages were not acknowledged in time; is the broker there?"
        )
    return 1 if counts.skipped else 0


def _clients(target: Target) -> provision.Clients:
    return provision.Clients(
        target.client("iot", "simulator"), target.client("dynamodb", "simulator")
    )
