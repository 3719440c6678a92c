"""Readings of a chunk of the archive, new ones only, sorted into files: DuckDB, within a limit of
memory. What does not fit waits on the disk."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.archive.distinct import READING_COLUMNS
from lake.archive.rows import ROW_SCHEMA
from lake.compaction.plan import DAY_MS
from lake.sql.object_files import ObjectFiles
from lake.sql.views import Sources, distinct, fresh_only, readings_of

_SCHEMA: Final = pa.schema([ROW_SCHEMA.field(name) for name in READING_COLUMNS])
_DAY_US: Final = DAY_MS * 1000
_BATCH: Final = 100_000
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
}
"""As the archive's segments, with times in milliseconds. DuckDB would write microseconds."""

_SORTED: Final = "ORDER BY device_id, ts, boot, seq"


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


class Sorter:
    """Sorts on one DuckDB of its own; use as a context manager."""

    def __init__(self, files: ObjectFiles, folder: Path, memory: str, threads: int) -> None:
        self._folder = folder
        self._duckdb = duckdb.connect(
            str(folder / "sorting.duckdb"),
            config={
                "memory_limit": memory,
                "threads": threads,
                "temp_directory": str(folder / "spill"),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._duckdb.register_filesystem(files)
        self._duckdb.register("no_rows", ROW_SCHEMA.empty_table())

    def __enter__(self) -> Sorter:
        return self

    def __exit__(self, *_: object) -> None:
        self._duckdb.close()

    def load(self, segments: Sequence[str]) -> list[int]:
        """Take the readings of these segments (paths); the days that they are of."""
        self._duckdb.execute(f"CREATE OR REPLACE TABLE fresh AS {distinct(segments)}")
        return self._days("fresh")

    def drop_known(self, files: Sequence[str]) -> list[int]:
        """Drop loaded readings whose identities are in these files; the days that are left."""
        if files:
            self._duckdb.execute(f"CREATE OR REPLACE TABLE unknown AS {fresh_only('fresh', files)}")
            self._duckdb.execute("DROP TABLE fresh")
            self._duckdb.execute("ALTER TABLE unknown RENAME TO fresh")
        return self._days("fresh")

    def write_day(self, day: int, file_bytes: int) -> Iterator[SortedFile]:
        """Write the loaded readings of a day."""
        where = f"epoch_us(ts) // {_DAY_US} = {day}"
        yield from self._write(f"SELECT * FROM fresh WHERE {where}", day, file_bytes)

    def merge(self, files: Sequence[str], day: int, file_bytes: int) -> Iterator[SortedFile]:
        """Write the readings of these files, which are of one day, into new ones."""
        yield from self._write(readings_of(Sources(compacted=files)), day, file_bytes)

    def _days(self, table: str) -> list[int]:
        rows = self._duckdb.execute(
            f"SELECT DISTINCT epoch_us(ts) // {_DAY_US} AS day FROM {table} ORDER BY day"
        ).fetchall()
        return [int(day) for (day,) in rows]

    def _write(self, query: str, day: int, file_bytes: int) -> Iterator[SortedFile]:
        """Files of at least ``file_bytes``, but for the last one."""
        columns = ", ".join(READING_COLUMNS)
        reader = self._duckdb.sql(f"SELECT {columns} FROM ({query}) {_SORTED}").to_arrow_reader(
            _BATCH
        )
        file: _File | None = None
        for batch in reader:
            if not batch.num_rows:
                continue
            file = file or _File(self._folder / f"{uuid.uuid4().hex}.parquet", day)
            file.write(batch.cast(_SCHEMA))
            if file.size >= file_bytes:
                yield file.close()
                file = None
        if file is not None:
            yield file.close()


class _File:
    """A file that is being written, in sorted batches."""

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

    def write(self, batch: Any) -> None:
        """Add rows, as one row group."""
        self._writer.write_batch(batch, row_group_size=_BATCH)
        devices = batch.column("device_id")
        self._first = self._first if self._rows else devices[0].as_py()
        self._last = devices[-1].as_py()
        found = pc.min_max(batch.column("ts").cast(pa.int64())).as_py()
        self._times += [found["min"], found["max"]]
        self._rows += batch.num_rows

    def close(self) -> SortedFile:
        """End it; what is in it."""
        self._writer.close()
        self._sink.close()
        return SortedFile(
            self._path, self._path.stat().st_size, self._rows, self._day, self._first, self._last,
            min(self._times), max(self._times),
        )  # fmt: skip
