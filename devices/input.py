"""Readings as lines of text: parses them, and stores them in a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from devices.device import Device
from devices.errors import SpoolFullError


class LineCounts(NamedTuple):
    """What became of the lines: readings stored, lines that are no readings, and readings that a
    full spool refused."""

    readings: int
    skipped: int
    refused: int


def store_lines(
    device: Device,
    lines: Iterable[str],
    *,
    now_ms: Callable[[], int],
    on_problem: Callable[[str], object],
) -> LineCounts:
    """Store the reading of each line, at most one an interval, until the lines end.

    ``on_problem`` is called with a sentence for each skipped line, and when the spool becomes full
    or takes readings again.
    """
    readings = skipped = refused = 0
    full = False
    number = 0
    source = iter(lines)
    while True:
        device.wait_interval()
        line = next(source, None)
        if line is None:
            break
        number += 1
        if not line.strip():
            continue
        try:
            ts, metrics = parse_line(line, now_ms)
            device.add(metrics, ts=ts)
        except SpoolFullError as error:
            refused += 1
            if not full:
                on_problem(f"line {number}: {error}")
            full = True
        except ValueError as error:
            skipped += 1
            on_problem(f"line {number} is skipped: {error}")
        else:
            readings += 1
            if full:
                on_problem(f"line {number}: the spool takes readings again, {refused} were refused")
            full = False
    return LineCounts(readings, skipped, refused)


def parse_line(line: str, now_ms: Callable[[], int]) -> tuple[int, dict[str, Any]]:
    """Event time (ms) and metrics of a line: either the metrics, ``{"temperature": 21.5}``, which
    get the time ``now_ms()``, or a reading, ``{"ts": 1795420839206, "metrics": {…}}``.

    :raises ValueError: when it is not a JSON object of one of these shapes.
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
