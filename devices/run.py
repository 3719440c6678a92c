"""Run one real device: readings as JSON lines in, telemetry out."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import Any, NamedTuple

import msgspec

from devices.batch import BatchLimits
from devices.client import TelemetryClient
from devices.pace import Pace
from devices.remote import RemoteConfiguration, Reporting


class RunCounts(NamedTuple):
    """What became of the lines."""

    readings: int
    skipped: int
    unacknowledged: int


async def run_device(
    client: TelemetryClient,
    lines: AsyncIterable[str],
    *,
    now_ms: Callable[[], int],
    complain: Callable[[str], None],
    pace: Pace | None = None,
) -> RunCounts:
    """Publish each line until they end; with a ``pace``, a line a turn.

    A line is either the metrics, ``{"temperature": 21.5}``, stamped with the time it was read,
    or a reading, ``{"ts": 1795420839206, "metrics": {…}}``. One that is neither is skipped, and
    ``complain`` hears why.
    """
    readings = skipped = number = 0
    pace = pace or Pace()
    source = aiter(lines)
    await client.connect()
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
                await client.add(ts, metrics)
                readings += 1
            except ValueError as error:
                skipped += 1
                complain(f"line {number} is skipped: {error}")
    finally:
        unacknowledged = await client.close()
    return RunCounts(readings, skipped, unacknowledged)


def follow_shadow(
    client: TelemetryClient, reporting: Reporting, pace: Pace, complain: Callable[[str], None]
) -> RemoteConfiguration:
    """Have the device's shadow set pace and batching from the next connection on."""

    def changed(new: Reporting) -> None:
        pace.interval_s = new.interval_s
        client.limit(BatchLimits(new.batch, age_s=new.age_s))

    connection = client.connection
    remote = RemoteConfiguration(
        client.identity.device_id,
        reporting,
        publish=connection.post,
        changed=changed,
        complain=complain,
    )
    remote.attach(connection)
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
