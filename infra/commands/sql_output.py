"""The answer to a query as a table, CSV, JSON or Parquet. Rows are written as they are computed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

TABLE_ROWS: Final = 1_000
"""The most rows that a table shows: a person reads no more, and its widths are those of all."""


def write_csv(reader: Any, out: TextIO) -> int:
    """The rows of an Arrow reader with a heading; how many they were. A null is an empty field."""
    writer = csv.writer(out)
    writer.writerow(reader.schema.names)
    rows = 0
    for row in _rows(reader):
        writer.writerow([_exact(value) for value in row])
        rows += 1
    return rows


def write_json(reader: Any, out: TextIO) -> int:
    """One JSON array with an object a row; how many they were. Times are ISO 8601, bytes are
    hexadecimal, and what is no number of JSON (``NaN``) is ``null``."""
    rows = 0
    for row in _rows(reader):
        record = dict(zip(reader.schema.names, row, strict=True))
        out.write(",\n " if rows else "[\n ")
        out.write(orjson.dumps(record, default=_for_json, option=orjson.OPT_NON_STR_KEYS).decode())
        rows += 1
    out.write("\n]\n" if rows else "[]\n")
    return rows


def write_parquet(reader: Any, path: Path) -> int:
    """A Parquet file, there when it is whole; how many rows it has."""
    draft = path.with_name(f".{path.name}.part")
    rows = 0
    try:
        with pq.ParquetWriter(draft, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return rows


def table_lines(reader: Any) -> tuple[list[str], bool]:
    """The rows as lines of text below their columns' names, at most :data:`TABLE_ROWS`; whether
    there are more."""
    names = reader.schema.names
    shown: list[list[str]] = []
    more = False
    for row in _rows(reader):
        if len(shown) == TABLE_ROWS:
            more = True
            break
        shown.append([_short(value) for value in row])
    numeric = [pa.types.is_floating(f.type) or pa.types.is_integer(f.type) for f in reader.schema]
    widths = [max(map(len, column)) for column in zip(names, *shown, strict=True)]
    return [_line(row, widths, numeric) for row in (names, *shown)], more


def _line(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    cells = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(row, widths, numeric, strict=True)
    )
    return "  ".join(cells).rstrip()


def _rows(reader: Any) -> Iterator[tuple[Any, ...]]:
    fixes = [_fix_of(field.type) for field in reader.schema]
    for batch in reader:
        columns = [map(fix, column.to_pylist()) for fix, column in zip(fixes, batch, strict=True)]
        yield from zip(*columns, strict=True)


def _fix_of(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of Python of what Arrow gives for a type."""
    if pa.types.is_map(kind):
        return lambda value: value if value is None else dict(value)
    if kind == pa.month_day_nano_interval():
        return lambda value: value if value is None else interval_text(value)
    return lambda value: value


def interval_text(value: Any) -> str:
    """An interval of DuckDB.

    >>> interval_text(pa.MonthDayNano([0, 2, 5_400_000_000_000]))
    '2 days 01:30:00'
    """
    months, days, nanoseconds = value
    parts = [f"{n} {name}" for n, name in ((months, "months"), (days, "days")) if n]
    seconds = abs(nanoseconds) // 10**9
    sign = "-" if nanoseconds < 0 else ""
    clock = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    milliseconds = abs(nanoseconds) // 10**6 % 1000
    return " ".join([*parts, f"{clock}.{milliseconds:03}" if milliseconds else clock])


def _short(value: Any) -> str:
    """A value for a person: six digits are enough. Control characters are escaped: what a device
    sent shall not steer a terminal."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = _exact(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _exact(value: Any) -> str:
    """A value as it is: a float with all its digits, a time in UTC with its ms, bytes in
    hexadecimal, a map or a list as JSON."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(" ", "milliseconds").removesuffix("+00:00").removesuffix(".000")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping | list):
        return orjson.dumps(value, default=_for_json, option=orjson.OPT_NON_STR_KEYS).decode()
    return str(value)


def _for_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return float(value)
    return str(value)
