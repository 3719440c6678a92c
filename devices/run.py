"""Run one real device: readings as JSON lines in, telemetry out, by way of its spool."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import Any, NamedTuple

import msgspec

from devices.batch import BatchLimits
from devices.mqtt.client_factory import Session
from devices.pace import Pace
from devices.remote import RemoteConfiguration, Reporting
from devices.spool.client import SpooledClient
from devices.spool.spool import SpoolFullError

DRAIN_S = 30.0


class RunCounts(NamedTuple):
    """What became of the lines: readings taken, lines skipped because they break the contract,
    readings refused by a full spool, readings that were dropped from it, and readings that still
    wait in it."""

    readings: int
    skipped: int
    refused: int
    dropped: int
    waiting: int


async def run_device(
    client: SpooledClient,
    lines: AsyncIterable[str],
    *,
    now_ms: Callable[[], int],
    complain: Callable[[str], None],
    drain_s: float = DRAIN_S,
    pace: Pace | None = None,
) -> RunCounts:
    """Take each line until they end, one a turn of the ``pace``, then wait up to
    ``drain_s`` for what is not acknowledged.

    A line is either the metrics, ``{"temperature": 21.5}``, stamped with the time it was read,
    or a reading, ``{"ts": 1795420839206, "metrics": {…}}``. One that is neither is skipped, and
    ``complain`` hears why; it hears once of a full spool, and when it takes readings again.
    """
    readings = skipped = refused = number = 0
    full = False
    dropped = client.spool.dropped
    waiting = 0
    pace = pace or Pace()
    source = aiter(lines)
    client.start()
    try:
        while True:
            await pace.turn()
            if (line := await anext(source, None)) is None:
                break
            number += 1
            if not line.strip():
                continue
            try:
                ts, metrics = parse_line(line, now_ms)
                client.add(ts, metrics)
            except SpoolFullError as error:
                refused += 1
                if not full:
                    complain(f"line {number}: {error}")
                full = True
                continue
            except ValueError as error:
                skipped += 1
                complain(f"line {number} is skipped: {error}")
                continue
            readings += 1
            if full:
                complain(f"line {number}: the spool takes readings again, {refused} were refused")
            full = False
    finally:
        waiting = await client.close(drain_s)
    return RunCounts(readings, skipped, refused, client.spool.dropped - dropped, waiting)


def follow_shadow(
    client: SpooledClient,
    session: Session,
    reporting: Reporting,
    pace: Pace,
    complain: Callable[[str], None],
) -> RemoteConfiguration:
    """Have the device's shadow set pace and batching, by each connection of the session."""

    def changed(new: Reporting) -> None:
        pace.interval_s = new.interval_s
        client.limits = BatchLimits(new.batch, age_s=new.age_s)

    remote = RemoteConfiguration(
        client.identity.device_id, reporting, changed=changed, complain=complain
    )
    session.prepare(remote.attach)
    return remote


def parse_line(line: str, now_ms: Callable[[], int]) -> tuple[int, dict[str, Any]]:
    """Event time (ms) and metrics of one line.

    :raises ValueError: when it is not a JSON object of one of the two shapes.
    """
    try:
        document = msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(document, dict) or not document:
        raise ValueError('expected an object such as {"temperature": 21.5}')
    if isinstance(document.get("metrics"), dict):
        ts = document.get("ts", now_ms())
        if not isinstance(ts, int) or isinstance(ts, bool):
            raise ValueError(f"ts must be an integer in ms, not {ts!r}")
        return ts, document["metrics"]
    return now_ms(), document
