"""Readings of a chunk of the archive, new ones only, sorted into files: DuckDB, within a limit of
memory. What does not fit waits on the disk."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb

from lake.archive.distinct import READING_COLUMNS
from lake.archive.rows import ROW_SCHEMA
from lake.compaction.plan import DAY_MS
from lake.sql.object_files import ObjectFiles
from lake.sql.views import Sources, distinct, fresh_only, readings_of

_DAY_US: Final = DAY_MS * 1000
_FORMAT: Final = (
    "FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, COMPRESSION_LEVEL 3, "
    "ROW_GROUP_SIZE 100000, RETURN_STATS"
)
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
        folder = self._folder / f"sorted-{uuid.uuid4().hex}"
        columns = ", ".join(READING_COLUMNS)
        written = self._duckdb.execute(
            f"COPY (SELECT {columns} FROM ({query}) {_SORTED}) TO '{folder}' "
            f"({_FORMAT}, FILE_SIZE_BYTES {file_bytes})"
        ).fetchall()
        for path, rows, size, *_ in written:
            if rows:
                yield self._described(Path(path), int(size), int(rows), day)

    def _described(self, path: Path, size: int, rows: int, day: int) -> SortedFile:
        found: Any = self._duckdb.execute(
            "SELECT min(device_id), max(device_id), epoch_ms(min(ts)), epoch_ms(max(ts)) "
            f"FROM read_parquet('{path}')"
        ).fetchone()
        return SortedFile(path, size, rows, day, *found)
