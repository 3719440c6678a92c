"""Writes sorted rows into compacted files."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.archive.distinct import READING_COLUMNS
from lake.archive.rows import ROW_SCHEMA
from lake.compaction.coded import METRICS
from lake.compaction.order import joined

ROW_GROUP: Final = 100_000
"""Rows of a row group: a reader of one device skips most of a file."""

_FORMAT: Final[dict[str, Any]] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": [
        "device_id",
        "boot",
        "metrics.key_value.key",
        "metrics.key_value.value",
    ],
    "column_encoding": dict.fromkeys(
        ("ts", "seq", "received_at", "arrived_at"), "DELTA_BINARY_PACKED"
    ),
    "store_schema": False,  # readers shall see texts, not how this module had them in memory
}
"""As the archive's segments, with times in milliseconds."""

_SCHEMA: Final = pa.schema(
    [
        ROW_SCHEMA.field(name).with_type(METRICS) if name == "metrics" else ROW_SCHEMA.field(name)
        for name in READING_COLUMNS
    ]
)
_NAMES: Final = 4_096
"""More names of metrics than a row group usually has: then, only those that it has are written."""


class SortedFile(NamedTuple):
    """A file that was written: its path, size (bytes), rows, day, and the devices and times (ms) in
    it."""

    path: Path
    size: int
    rows: int
    day: int
    first_device: str
    last_device: str
    first_ts: int
    last_ts: int


def write_files(
    tables: Iterable[Any], day: int, folder: Path, file_bytes: int
) -> Iterator[SortedFile]:
    """Write tables of rows, which follow one another in order and are of one day, in files of at
    least ``file_bytes``, but for the last one."""
    file = None
    for rows in _row_groups(tables):
        file = file or _File(folder / f"{uuid.uuid4().hex}.parquet", day)
        file.write(rows)
        if file.size >= file_bytes:
            yield file.close()
            file = None
    if file is not None:
        yield file.close()


def _row_groups(tables: Iterable[Any]) -> Iterator[Any]:
    """The same rows in tables of :data:`ROW_GROUP`, each in one piece."""
    parts: list[Any] = []
    size = 0
    for table in tables:
        parts.append(table)
        size += table.num_rows
        while size >= ROW_GROUP:
            rows = pa.concat_tables(parts)
            yield joined([rows.slice(0, ROW_GROUP)])
            parts, size = [rows.slice(ROW_GROUP)], size - ROW_GROUP
    if size:
        yield joined(parts)


class _File:
    """A file that is being written."""

    def __init__(self, path: Path, day: int) -> None:
        self._path = path
        self._day = day
        self._sink = path.open("wb")
        self._writer = pq.ParquetWriter(self._sink, _SCHEMA, **_FORMAT)
        self._rows = 0
        self._first = self._last = ""
        self._times: list[int] = []

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._sink.tell()

    def write(self, rows: Any) -> None:
        """Add rows, as one row group."""
        self._writer.write_table(_as_written(rows), row_group_size=ROW_GROUP)
        devices = rows["device_id"]
        self._first = self._first if self._rows else devices[0].as_py()
        self._last = devices[-1].as_py()
        found = pc.min_max(rows["ts"].cast(pa.int64())).as_py()
        self._times += [found["min"], found["max"]]
        self._rows += rows.num_rows

    def close(self) -> SortedFile:
        """End it; what is in it."""
        self._writer.close()
        self._sink.close()
        return SortedFile(
            self._path, self._path.stat().st_size, self._rows, self._day, self._first, self._last,
            min(self._times), max(self._times),
        )  # fmt: skip


def _as_written(rows: Any) -> Any:
    """Devices and boots as texts: their dictionaries are those of all rows in memory, and a row
    group needs few of them. Names of metrics are few, and three times as many as rows."""
    columns = [_column(rows[field.name], field.type) for field in _SCHEMA]
    return pa.table(columns, schema=_SCHEMA)


def _column(column: Any, kind: Any) -> Any:
    if kind == METRICS and len(column.chunk(0).keys.dictionary) > _NAMES:
        return column.cast(ROW_SCHEMA.field("metrics").type).cast(kind)
    return column if column.type == kind else column.cast(kind)
