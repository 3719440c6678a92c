"""``penstock device``: things, certificates, and one real device."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import IO, Any, Final, Literal, get_args

import rich_click as click
from rich.table import Table

from devices import identity
from devices.acknowledgements import hear
from devices.batch import BatchLimits
from devices.identity import IdentityError
from devices.keys import expires_at, expiry_warning
from devices.mqtt.client_factory import Session
from devices.pace import Pace
from devices.presence import Presence
from devices.provisioning import registry as provision
from devices.remote import Reporting
from devices.run import DRAIN_S, RunCounts, follow_shadow, run_device
from devices.spool.client import Order, SpooledClient
from devices.spool.spool import Spool, SpoolBusyError, SpoolFullError, SpoolLimits
from infra.commands.claim import announce, claim, provision_, revoke, rotate
from infra.commands.configure import configure
from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, UserError, print_json, say
from infra.target import Target, find_target, refusals_as
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
        with refusals_as(f"AWS IoT refuses to create {name}"):
            made = provision.create_device(
                _clients(target), target.settings, name, group=group, kind=kind
            )
    except IdentityError as error:
        raise UserError(str(error)) from None
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
@click.option(
    "--durable",
    is_flag=True,
    help="Keep each reading until it is in hot store and archive; the stack must acknowledge.",
)
@click.option(
    "--spool-mb",
    default=64.0,
    show_default=True,
    type=click.FloatRange(0.01),
    help="Most that may wait on disk for a broker that is away.",
)
@click.option(
    "--spool-days",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.01),
    help="Longest that a reading may wait there.",
)
@click.option(
    "--when-full",
    type=click.Choice(["refuse", "drop-oldest"]),
    default="refuse",
    show_default=True,
    help="What a full spool does with a new reading.",
)
@click.option(
    "--order",
    type=click.Choice(["oldest-first", "live-first"]),
    default="oldest-first",
    show_default=True,
    help="What goes first when the broker is back.",
)
@click.option(
    "--wait",
    "drain_s",
    default=DRAIN_S,
    show_default=True,
    type=click.FloatRange(0, 86_400),
    help="Seconds to wait at the end for what is not acknowledged.",
)
@json_option
@aws_option
def run(
    name: str,
    source: IO[str],
    batch: int,
    age: float,
    interval: float,
    content: Content,
    durable: bool,
    spool_mb: float,
    spool_days: float,
    when_full: str,
    order: str,
    drain_s: float,
    as_json: bool,
    aws: bool,
) -> int:
    """Run the device NAME: publish each line of its input.

    A line is an object of metrics, {"temperature": 21.5, "door_open": false}, stamped with the
    time it is read; or {"ts": 1795420839206, "metrics": {...}} with the time of its own.

    Each reading is on disk before the next line is read, and stays there until the broker has
    acknowledged it: without a network, after a kill or a power cut, the next run goes on.

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
        with Spool(
            who.folder,
            now=_now_ms,
            limits=SpoolLimits(int(spool_mb * 2**20), spool_days * 86_400, _WHEN_FULL[when_full]),
            notice=_complain,
        ) as spool:
            if len(spool):
                say(f"{len(spool)} readings of earlier runs wait in the spool")
            reporting = Reporting(interval, batch, age)
            how = {"order": _ORDER[order], "content": content, "durable": durable}
            counts = asyncio.run(_run(who, spool, source, reporting, how, drain_s))
    except (SpoolBusyError, SpoolFullError) as error:
        raise UserError(str(error)) from None
    return _told(name, counts, as_json)


for command in (configure, announce, claim, provision_, rotate, revoke):
    device.add_command(command)


def _at_its_broker(who: identity.Identity, settings: Settings) -> identity.Identity:
    """The identity with the broker that the settings name: a local stack's can move."""
    if settings.iot_host is None:
        return who
    ca = str(settings.iot_ca) if settings.iot_ca else None
    facts = replace(who.facts, host=settings.iot_host, port=settings.iot_port, ca_path=ca)
    return replace(who, facts=facts)


_DAY_S: Final = 86_400
_WHEN_FULL: Final[dict[str, Literal["refuse", "drop_oldest"]]] = {
    "refuse": "refuse",
    "drop-oldest": "drop_oldest",
}
_ORDER: Final[dict[str, Order]] = {"oldest-first": "oldest_first", "live-first": "live_first"}


async def _run(
    who: identity.Identity,
    spool: Spool,
    source: IO[str],
    reporting: Reporting,
    how: dict[str, Any],
    drain_s: float,
) -> RunCounts:
    presence, pace = Presence(who.device_id), Pace(reporting.interval_s)
    session = Session(will=presence.will)
    session.prepare(presence.announce)
    limits = BatchLimits(reporting.batch, age_s=reporting.age_s)
    client = SpooledClient(who, spool, limits=limits, notice=_complain, client=session, **how)
    follow_shadow(client, session, reporting, pace, _complain)
    if how["durable"]:
        session.prepare(lambda connection: hear(connection, who.device_id, client.is_durable))
    watching = asyncio.create_task(_watch_expiry(who))
    try:
        return await run_device(
            client, _lines(source), now_ms=_now_ms, complain=_complain, drain_s=drain_s, pace=pace
        )
    finally:
        watching.cancel()


async def _watch_expiry(who: identity.Identity) -> None:
    """Say once a day that the certificate ends soon."""
    while True:
        if warning := expiry_warning(who.certificate_path):
            _complain(warning)
        await asyncio.sleep(_DAY_S)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _complain(sentence: str) -> None:
    print(f"penstock: {sentence}", file=sys.stderr, flush=True)


async def _lines(source: IO[str]) -> AsyncIterator[str]:
    while line := await asyncio.to_thread(source.readline):
        yield line


def _told(name: str, counts: RunCounts, as_json: bool) -> int:
    document: dict[str, Any] = {"device": name, **counts._asdict()}
    if as_json:
        print_json(document)
    else:
        say(f"{name}: {counts.readings} readings taken, {counts.skipped} lines skipped")
    if counts.dropped:
        say(f"{counts.dropped} old readings were dropped from the full spool")
    if counts.waiting:
        raise UserError(
            f"{counts.waiting} readings are not acknowledged and wait in the spool: the next run "
            "sends them"
        )
    if counts.refused:
        raise UserError(f"{counts.refused} readings were refused: the spool was full")
    return 1 if counts.skipped else 0


def _clients(target: Target) -> provision.Clients:
    return provision.Clients(
        target.client("iot", "simulator"), target.client("dynamodb", "simulator")
    )
