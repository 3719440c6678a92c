"""``penstock device run``: one real device, from its own folder alone."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, Literal, get_args

import rich_click as click

from devices import identity
from devices.async_device import DeviceOptions
from devices.device import Device
from devices.errors import DeviceError, SpoolFullError
from devices.events import CommandEnded, Connected, Event, Offline
from devices.mqtt.traces import TraceOptions
from devices.reporting import BOUNDS, Reporting
from devices.spool.send_queue import Order
from devices.spool.spool import SpoolLimits
from infra.commands.device_folder import at_current_broker, device_settings
from infra.commands.device_input import Format, InputError, Parsed, Skipped, read
from infra.commands.device_obey import program
from infra.commands.options import json_option
from infra.console import STDOUT, UserError, print_json, say
from ingest.message import MAX_READINGS, VERSION, Content, Message, Reading, encode
from ingest.traces.otlp import TracesError

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
    type=click.File("rb"),
    default="-",
    help="The readings.  [default: standard input]",
)
@click.option(
    "--format",
    "input_format",
    type=click.Choice(get_args(Format)),
    default="auto",
    show_default=True,
    help="JSON lines, a JSON array, or CSV with a header; auto looks at the first line.",
)
@click.option("--ts-column", help="CSV column with the event time.  [default: ts, if there is one]")
@click.option("--dry-run", is_flag=True, help="Print the readings as JSON lines, and send nothing.")
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
@click.option(
    "--on-command",
    "obey_with",
    metavar="PROGRAM",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
    help="Run this for each command to the device, with its name as argument and JSON as input.",
)
@json_option
@click.option("--aws", is_flag=True, help="Ignore a local stack that is up in this folder.")
def run_(
    name: str,
    source: IO[bytes],
    input_format: Format,
    ts_column: str | None,
    dry_run: bool,
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
    obey_with: Path | None,
    as_json: bool,
    aws: bool,
) -> int:
    """Run the device NAME: publish the readings of its input. Needs the device's folder, and no
    AWS credentials.

    A reading is an object of metrics, {"temperature": 21.5, "door_open": false}. It gets the time
    at which it is read, unless it has its own: "ts" in ms since 1970 or as ISO 8601 with an offset.
    A line that is no reading is skipped and counted.

    Each reading is on disk before the next one is read, and stays there until the broker has
    acknowledged it: after an outage, a kill or a power cut, the next run sends it.

    Interval, batch and age can be changed while it runs: see `penstock device configure`. Commands
    (`penstock device command send`) wait unless --on-command says what does them.
    """
    options = DeviceOptions(
        reporting=Reporting(interval, batch, age),
        spool=SpoolLimits(int(spool_mb * 2**20), spool_days * 86_400, _WHEN_FULL[when_full]),
        order=_ORDER[order],
        content=content,
        durable=durable,
        drain_s=drain_s,
    )
    if source.isatty():
        say("type readings, one JSON object a line; Ctrl-D ends")
    readings = read(source, input_format, now_ms, ts_column)
    try:
        if dry_run:
            return _dry_run(name, readings, as_json)
        settings = device_settings(aws=aws)
        if settings.traces.sample:
            traces = TraceOptions(settings.traces.sample, settings.traces.endpoint)
            options = replace(options, traces=traces)
        who = at_current_broker(identity.load(settings.devices_dir, name), settings)
        device = Device(who, options, on_event=_Printer())
        if obey_with is not None:
            device.on_command(program(obey_with))
        result = _run(device, readings)
    except (DeviceError, InputError, TracesError) as error:
        raise UserError(str(error)) from None
    return _report(name, result, as_json)


@dataclass(frozen=True)
class _Result:
    readings: int
    skipped: int
    refused: int
    dropped: int
    waiting: int


class _Problems:
    """Counts skipped lines, and prints the first few of them and one summary."""

    SHOWN: Final = 5

    def __init__(self) -> None:
        self.skipped = 0

    def skip(self, line: int, reason: str) -> None:
        """A line is no reading."""
        self.skipped += 1
        if self.skipped <= self.SHOWN:
            _warn(f"line {line} is skipped: {reason}")

    def summary(self) -> None:
        """How many were not printed."""
        if self.skipped > self.SHOWN:
            _warn(f"{self.skipped - self.SHOWN} more lines are skipped, {self.skipped} in all")


def _run(device: Device, readings: Iterator[Parsed | Skipped]) -> _Result:
    dropped = device.dropped
    problems = _Problems()
    with device:
        if device.resumed:
            say(f"{device.resumed} readings of earlier runs wait in the spool")
        try:
            stored, refused = _store(device, readings, problems)
        finally:
            problems.summary()
    return _Result(stored, problems.skipped, refused, device.dropped - dropped, device.waiting)


def _store(
    device: Device, readings: Iterator[Parsed | Skipped], problems: _Problems
) -> tuple[int, int]:
    """Store readings, at most one an interval; how many were stored, and how many refused by a
    full spool."""
    stored = refused = 0
    full = False
    while True:
        device.wait_interval()
        one = next(readings, None)
        if one is None:
            return stored, refused
        if isinstance(one, Skipped):
            problems.skip(one.line, one.reason)
            continue
        try:
            device.add(one.metrics, ts=one.ts)
        except SpoolFullError as error:
            refused += 1
            if not full:
                _warn(f"line {one.line}: {error}")
            full = True
        except ValueError as error:
            problems.skip(one.line, str(error))
        else:
            stored += 1
            if full:
                _warn(f"line {one.line}: the spool takes readings again, {refused} were refused")
            full = False


def _dry_run(name: str, readings: Iterator[Parsed | Skipped], as_json: bool) -> int:
    """Print what would be sent. Checks readings against the contract as the spool does."""
    problems = _Problems()
    found: list[dict[str, Any]] = []
    for one in readings:
        if isinstance(one, Skipped):
            problems.skip(one.line, one.reason)
            continue
        try:
            reading = Reading(one.ts, dict(one.metrics))
            encode(Message(VERSION, "dry-run-0", 0, [reading]))
        except ValueError as error:
            problems.skip(one.line, str(error))
            continue
        document = {"ts": one.ts, "metrics": one.metrics}
        found.append(document)
        if not as_json:
            STDOUT.print(json.dumps(document), markup=False)
    problems.summary()
    if as_json:
        print_json({"device": name, "readings": found, "skipped": problems.skipped})
    else:
        say(f"{name}: {len(found)} readings, {problems.skipped} lines skipped; nothing was sent")
    return 1 if problems.skipped else 0


class _Printer:
    """Prints warnings, commands, and that the device is connected again after a warning."""

    def __init__(self) -> None:
        self._offline = False

    def __call__(self, event: Event) -> None:
        again = self._offline and isinstance(event, Connected)
        if event.level >= logging.WARNING or again or isinstance(event, CommandEnded):
            _warn(str(event))
        if isinstance(event, Offline | Connected):
            self._offline = isinstance(event, Offline)


def now_ms() -> int:
    """This machine's clock."""
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
