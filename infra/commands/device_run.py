"""``penstock device run``: one real device, from its own folder alone."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import asdict, dataclass
from typing import IO, Any, Final, Literal, get_args

import rich_click as click

from devices import identity
from devices.async_device import DeviceOptions
from devices.device import Device
from devices.errors import DeviceError
from devices.events import Connected, Event, Offline
from devices.input import store_lines
from devices.reporting import BOUNDS, Reporting
from devices.spool.send_queue import Order
from devices.spool.spool import SpoolLimits
from infra.commands.device_folder import at_current_broker, device_settings
from infra.commands.options import json_option
from infra.console import UserError, print_json, say
from ingest.message import MAX_READINGS, Content

_WHEN_FULL: Final[dict[str, Literal["refuse", "drop_oldest"]]] = {
    "refuse": "refuse",
    "drop-oldest": "drop_oldest",
}
_ORDER: Final[dict[str, Order]] = {"oldest-first": "oldest_first", "live-first": "live_first"}


@click.command("run")
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
    type=click.IntRange(1, MAX_READINGS),
    help="Maximum readings a message.",
)
@click.option(
    "--age",
    default=1.0,
    show_default=True,
    type=click.FloatRange(*BOUNDS["age_s"]),
    help="Maximum seconds that a reading waits for its message to fill.",
)
@click.option(
    "--interval",
    default=0.0,
    show_default=True,
    type=click.FloatRange(*BOUNDS["interval_s"]),
    help="Minimum seconds between two readings; 0 for no minimum.",
)
@click.option(
    "--content",
    default="json",
    show_default=True,
    type=click.Choice(get_args(Content)),
    help="Encoding of messages; cbor is a quarter smaller.",
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
    help="Maximum size of the readings that wait on disk.",
)
@click.option(
    "--spool-days",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.01),
    help="Maximum age of a reading that waits on disk.",
)
@click.option(
    "--when-full",
    type=click.Choice(list(_WHEN_FULL)),
    default="refuse",
    show_default=True,
    help="What a full spool does with a new reading.",
)
@click.option(
    "--order",
    type=click.Choice(list(_ORDER)),
    default="oldest-first",
    show_default=True,
    help="What is sent first when the broker is back.",
)
@click.option(
    "--wait",
    "drain_s",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, 86_400),
    help="Seconds to wait at the end for acknowledgements.",
)
@json_option
@click.option("--aws", is_flag=True, help="Ignore a local stack that is up in this folder.")
def run_(
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
    """Run the device NAME: publish each line of its input. Needs the device's folder, and no AWS
    credentials.

    A line is an object of metrics, {"temperature": 21.5, "door_open": false}, which gets the time
    at which it is read; or {"ts": 1795420839206, "metrics": {...}} with its own time (ms).

    Each reading is on disk before the next line is read, and stays there until the broker has
    acknowledged it: after an outage, a kill or a power cut, the next run sends it.

    Interval, batch and age can be changed while it runs: see `penstock device configure`.
    """
    options = DeviceOptions(
        reporting=Reporting(interval, batch, age),
        spool=SpoolLimits(int(spool_mb * 2**20), spool_days * 86_400, _WHEN_FULL[when_full]),
        order=_ORDER[order],
        content=content,
        durable=durable,
        drain_s=drain_s,
    )
    settings = device_settings(aws=aws)
    if source.isatty():
        say("type readings, one JSON object a line; Ctrl-D ends")
    try:
        who = at_current_broker(identity.load(settings.devices_dir, name), settings)
        result = _run(Device(who, options, on_event=_Printer()), source)
    except DeviceError as error:
        raise UserError(str(error)) from None
    return _report(name, result, as_json)


@dataclass(frozen=True)
class _Result:
    readings: int
    skipped: int
    refused: int
    dropped: int
    waiting: int


def _run(device: Device, source: IO[str]) -> _Result:
    dropped = device.dropped
    with device:
        if device.waiting:
            say(f"{device.waiting} readings of earlier runs wait in the spool")
        counts = store_lines(device, source, now_ms=_now_ms, on_problem=_warn)
    return _Result(*counts, dropped=device.dropped - dropped, waiting=device.waiting)


class _Printer:
    """Prints warnings, and that the device is connected again after one."""

    def __init__(self) -> None:
        self._offline = False

    def __call__(self, event: Event) -> None:
        if event.level >= logging.WARNING or (self._offline and isinstance(event, Connected)):
            _warn(str(event))
        if isinstance(event, Offline | Connected):
            self._offline = isinstance(event, Offline)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _warn(sentence: str) -> None:
    print(f"penstock: {sentence}", file=sys.stderr, flush=True)


def _report(name: str, result: _Result, as_json: bool) -> int:
    document: dict[str, Any] = {"device": name, **asdict(result)}
    if as_json:
        print_json(document)
    else:
        say(f"{name}: {result.readings} readings taken, {result.skipped} lines skipped")
    if result.dropped:
        say(f"{result.dropped} old readings were dropped from the full spool")
    if result.waiting:
        raise UserError(
            f"{result.waiting} readings are not acknowledged and wait in the spool: the next run "
            "sends them"
        )
    if result.refused:
        raise UserError(f"{result.refused} readings were refused: the spool was full")
    return 1 if result.skipped else 0
