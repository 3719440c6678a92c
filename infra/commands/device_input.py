"""Readings as text: JSON lines, a JSON array or CSV. Pure: text in, readings or reasons out.

A reading is an object of metrics, ``{"temperature": 21.5}``, with the time ``ts`` among them or
without one; or ``{"ts": 1795420839206, "metrics": {…}}``. ``ts`` is an integer (ms since 1970) or
an ISO 8601 time with an offset. A reading without ``ts`` gets the time at which it is read.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Any, Final, Literal, NamedTuple

import msgspec

Format = Literal["auto", "jsonl", "json", "csv"]
NowMs = Callable[[], int]

_UNITS: Final = ((10**8, 10**11, "seconds", 1000, 1), (10**14, 10**17, "microseconds", 1, 1000),
                 (10**17, 10**20, "nanoseconds", 1, 10**6))  # fmt: skip
"""Times that are plausible in another unit: from, below, its name, factor and divisor to ms."""


_TIMES: Final = frozenset({"timestamp", "time", "datetime", "date", "event_time", "timestamp_ms"})
"""Names that are a time's and hardly a metric's: without its time, a reading gets that of now."""


class Parsed(NamedTuple):
    """The reading of a line, with its event time (ms)."""

    line: int
    ts: int
    metrics: Mapping[str, Any]


class Skipped(NamedTuple):
    """A line (from 1) that is no reading, and why."""

    line: int
    reason: str


class InputError(ValueError):
    """Nothing of the input can be read; the text says what to do."""


def read(
    lines: Iterable[bytes], content: Format, now_ms: NowMs, ts_column: str | None = None
) -> Iterator[Parsed | Skipped]:
    """The readings of an input, one by one as its lines come. Empty lines are ignored.

    ``content`` is the input's format; ``auto`` takes it from the first line. ``ts_column`` is the
    CSV column with the event time, by default ``ts``.

    :raises InputError: when the header or the array cannot be read.
    """
    numbered = enumerate(lines, 1)
    first = next(((n, line) for n, line in numbered if line.strip()), None)
    if first is None:
        return
    found = _format(first[1]) if content == "auto" else content
    rest = chain([first], numbered)
    if found == "csv":
        yield from _csv(rest, now_ms, ts_column)
    elif found == "json":
        yield from _array(rest, now_ms)
    else:
        yield from _json_lines(rest, now_ms)


def _format(first: bytes) -> Format:
    start = first.lstrip(b"\xef\xbb\xbf \t")[:1]
    if start == b"[":
        return "json"
    return "csv" if start.isalpha() and b"," in first else "jsonl"


def _json_lines(lines: Iterable[tuple[int, bytes]], now_ms: NowMs) -> Iterator[Parsed | Skipped]:
    for number, line in lines:
        if line.strip():
            yield _checked(number, now_ms, lambda line=line: _decode(line))  # type: ignore[misc]


def _array(lines: Iterable[tuple[int, bytes]], now_ms: NowMs) -> Iterator[Parsed | Skipped]:
    """Each element counts as a line."""
    try:
        elements = _decode(b"".join(line for _, line in lines))
    except ValueError as error:
        raise InputError(f"the input is no JSON array ({error}): use --format jsonl") from None
    if not isinstance(elements, list):
        raise InputError("the input is one JSON value and no array: use --format jsonl")
    for number, element in enumerate(elements, 1):
        yield _checked(number, now_ms, lambda element=element: element)  # type: ignore[misc]


def _csv(
    lines: Iterable[tuple[int, bytes]], now_ms: NowMs, ts_column: str | None
) -> Iterator[Parsed | Skipped]:
    source = iter(lines)
    _, head = next(source)
    try:
        columns = [name.strip() for name in _cells(head.removeprefix(b"\xef\xbb\xbf"))]
    except ValueError as error:
        raise InputError(f"the CSV header cannot be read: {error}") from None
    likely = next((name for name in columns if name.lower() in _TIMES), None)
    if ts_column is None and "ts" not in columns and likely is not None:
        raise InputError(
            f"the column {likely!r} is named like a time: name the column with the event time, "
            f"--ts-column {likely}, or rename it if it is a metric"
        )
    if ts_column is not None and ts_column not in columns:
        raise InputError(f"there is no column {ts_column!r}; there are {', '.join(columns)}")
    time_column = ts_column or "ts"
    if len(set(columns)) != len(columns):
        raise InputError(f"the CSV header names a column twice: {', '.join(columns)}")
    for number, line in source:
        if line.strip():
            make = lambda line=line: _row(columns, _cells(line), time_column)  # noqa: E731
            yield _checked(number, now_ms, make)


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([_text(line)]), [])


def _row(columns: list[str], cells: list[str], time_column: str) -> dict[str, Any]:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} cells, the header has {len(columns)}")
    row: dict[str, Any] = {}
    for name, cell in zip(columns, cells, strict=True):
        text = cell.strip()
        if name == time_column:
            row["ts"] = int(text) if text.lstrip("-").isdecimal() else text
        elif text:
            row[name] = _number(name, text)
    return row


def _number(name: str, text: str) -> float | bool:
    lower = text.lower()
    if lower in ("true", "false"):
        return lower == "true"
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is {text[:40]!r}, which is no number") from None


def _checked(line: int, now_ms: NowMs, make: Callable[[], Any]) -> Parsed | Skipped:
    try:
        ts, metrics = reading_of(make(), now_ms)
    except ValueError as error:
        return Skipped(line, str(error))
    return Parsed(line, ts, metrics)


def reading_of(value: Any, now_ms: NowMs) -> tuple[int, Mapping[str, Any]]:
    """Event time (ms) and metrics of a decoded reading.

    :raises ValueError: when it has none of the shapes, or its time cannot be one in ms.
    """
    if not isinstance(value, dict) or not value:
        raise ValueError('expected an object such as {"temperature": 21.5}')
    nested = isinstance(value.get("metrics"), dict)
    likely = next((name for name in value if name.lower() in _TIMES), None)
    if likely is not None and "ts" not in value:
        raise ValueError(
            f"{likely} is named like a time: call it ts, or otherwise if it is a metric"
        )
    metrics = value["metrics"] if nested else {k: v for k, v in value.items() if k != "ts"}
    return (event_time(value["ts"]) if "ts" in value else now_ms()), metrics


def event_time(value: Any) -> int:
    """An event time (ms) from an integer or an ISO 8601 text.

    :raises ValueError: when it is neither, or when it is evidently in another unit than ms.
    """
    if isinstance(value, str):
        return _iso_time(value)
    if isinstance(value, float):
        scale = 1000 if abs(value) < 10**11 else 1
        raise ValueError(f"ts must be an integer in ms, as {round(value * scale)}, not {value!r}")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"ts must be an integer in ms, not {value!r}")
    for low, high, unit, factor, divisor in _UNITS:
        if low <= value < high:
            right = value * factor // divisor
            raise ValueError(f"ts {value} is in {unit}: it must be in ms, {right}")
    return value


def _iso_time(text: str) -> int:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"ts {text[:40]!r} is no integer in ms and no ISO 8601 time") from None
    if found.tzinfo is None:
        raise ValueError(f"ts {text[:40]!r} has no offset: write {text.strip()[:40]}Z for UTC")
    return round(found.timestamp() * 1000)


def _decode(content: bytes) -> Any:
    try:
        return msgspec.json.decode(_text(content))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte {error.object[error.start]:#04x}") from None
