"""SQL on the archive, without a server: DuckDB in this process over the segments of a bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import duckdb
import orjson
import pyarrow as pa

from consumers.archive.segment_key import HOUR_MS
from lake.archive.distinct import READING_COLUMNS
from lake.archive.rows import ROW_SCHEMA
from lake.archive.segments import Segment, list_segments
from lake.catalog.index import Compacted, CompactedFile
from lake.sql.bounds import EVERYTHING, TABLES, Bounds, Span, bounds_of
from lake.sql.object_files import ObjectFiles
from lake.sql.segment_files import SegmentFiles
from lake.sql.typed_views import TYPES_TABLE, DeviceTypes, names_a_view, typed_views
from lake.sql.views import (
    RECORD_COLUMNS,
    Sources,
    readings_view,
    records_view,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CLOCK_AHEAD_S: Final = 600
"""A reading with a clock further ahead than that is in no window and no reading, unless the
deployment's setting ``clock_ahead_s`` says otherwise."""

_TYPES: Final = pa.schema([("device_id", pa.string()), ("type", pa.string())])
_COLUMNS: Final = {"records": RECORD_COLUMNS, "readings": READING_COLUMNS}
_CONFIG: Final[dict[str, Any]] = {
    "autoinstall_known_extensions": False,  # no network but the archive's
    "autoload_known_extensions": False,
    "preserve_insertion_order": False,  # a bound on memory; ORDER BY is how to ask for an order
}


class QueryError(Exception):
    """The query cannot be run; the text is DuckDB's, and says where."""


class Reads(NamedTuple):
    """What a query had to read: objects, and their bytes."""

    objects: int
    bytes: int


class Session:
    """Queries on one archive. Use as a context manager, from one thread at a time.

    Two tables: ``records``, the archive as it is, and ``readings``, each accepted reading once. A
    query sees what was committed when it began, and later queries see more.

    >>> with Session(s3, bucket) as lake:                                     # doctest: +SKIP
    ...     lake.query("SELECT device_id, count(*) FROM readings GROUP BY ALL").arrow()

    :param s3: a client that may list the bucket and read its objects.
    :param clock_ahead_s: the deployment's setting: no reading arrived before its ``ts`` by more.
    :param compacted: gives the newest snapshot of compacted readings, if there is one; without it,
        each query reads the archive itself.
    :param device_types: gives schemas and the devices' types, asked once, when a query names a view
        ``readings_<type>``; without it there are no such views.
    :param memory: DuckDB's limit, as ``"2GB"``; beyond it, it uses the disk. Its default is 80% of
        the machine's.
    """

    def __init__(
        self,
        s3: S3Client,
        bucket: str,
        *,
        clock_ahead_s: int = CLOCK_AHEAD_S,
        memory: str | None = None,
        compacted: Callable[[], Compacted | None] = lambda: None,
        device_types: Callable[[], DeviceTypes] | None = None,
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._clock_ahead_ms = clock_ahead_s * 1000
        self._compacted = compacted
        self._device_types = device_types
        self._files = SegmentFiles(s3, bucket)
        self._objects = ObjectFiles(s3, bucket)
        config = {**_CONFIG, "temp_directory": str(self._files.folder / "spill")}
        self._duckdb = duckdb.connect(
            config={**config, **({"memory_limit": memory} if memory else {})}
        )
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._duckdb.register_filesystem(self._objects)
        self._duckdb.register("no_rows", ROW_SCHEMA.empty_table())

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove local copies and forget the views."""
        self._duckdb.close()
        self._files.close()

    def interrupt(self) -> None:
        """End the query that another thread computes: there, ``duckdb.InterruptException``."""
        self._duckdb.interrupt()

    @property
    def reads(self) -> Reads:
        """What was read so far."""
        return Reads(
            self._files.objects + self._objects.opened, self._files.bytes + self._objects.bytes
        )

    def query(
        self,
        sql: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """The answer to one ``SELECT``, which DuckDB computes as it is read (``.arrow()``,
        ``.fetchmany()``, ``.df()``, ``.write_parquet()``).

        :param start_ms: with it, only readings whose ``ts`` is not before, and records that arrived
            not before (ms since 1970).
        :param end_ms: the same, exclusive.
        :param progress: gets how many of how many segments are here.
        :raises QueryError: when it is no query, or names what is not there.
        """
        span = Span(start_ms, end_ms)
        needed = self._plan(sql)
        # First the snapshot, then the listing: what is not in the one is in the other.
        compacted = self._compacted() if "readings" in needed else None
        segments = self._segments(needed, span, compacted)
        for table, bounds in needed.items():
            paths = self._files.fetch(segments[table], progress)
            if table == "records":
                view = records_view(Sources(paths), span)
            else:
                files = self._compacted_files(compacted, bounds, span)
                view = readings_view(Sources(paths, files), bounds, span)
            self._duckdb.execute(view)
        return self._answer(sql)

    def _compacted_files(
        self, compacted: Compacted | None, bounds: Bounds, span: Span
    ) -> list[str]:
        """The paths of the files that can have what a query needs."""
        files = compacted.files if compacted else ()
        needed = bounds._replace(ts=bounds.ts.and_(span))
        return [self._objects.add(one.key, one.size) for one in files if _has(one, needed)]

    def _answer(self, sql: str) -> duckdb.DuckDBPyRelation:
        """:raises QueryError: when it names what is not there, before anything is computed."""
        try:
            return self._duckdb.sql(sql)
        except duckdb.Error as error:
            raise QueryError(str(error)) from None

    def _plan(self, sql: str) -> dict[str, Bounds]:
        """What the query needs of each table, by its plan over empty ones."""
        self._empty_views()
        if self._device_types is not None and names_a_view(sql):
            self._typed_views(self._device_types())
            self._device_types = None
        try:
            statements = duckdb.extract_statements(sql)
        except duckdb.Error as error:
            raise QueryError(str(error)) from None
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryError("write one SELECT: the archive is only read")
        self._answer(sql)
        try:
            plans = self._duckdb.execute(f"EXPLAIN (FORMAT JSON) {sql}").fetchall()
        except duckdb.ParserException:  # a query that has no EXPLAIN, as SUMMARIZE
            return dict.fromkeys(TABLES, EVERYTHING)
        except duckdb.Error as error:
            raise QueryError(str(error)) from None
        return bounds_of([node for _, text in plans for node in orjson.loads(text)])

    def _empty_views(self) -> None:
        """The tables without rows, their columns below the views named as ``bounds_of`` wants."""
        for table in TABLES:
            names = {f"{table}_{name}": name for name in _COLUMNS[table]}
            empty = ROW_SCHEMA.empty_table().select(list(names.values()))
            self._duckdb.register(f"no_{table}", empty.rename_columns(list(names)))
            columns = ", ".join(f"{inner} AS {name}" for inner, name in names.items())
            self._duckdb.execute(
                f"CREATE OR REPLACE TEMP VIEW {table} AS SELECT {columns} FROM no_{table}"
            )

    def _typed_views(self, types: DeviceTypes) -> None:
        """Views with a column for each metric. The types are a table of DuckDB's own: the plan must
        show no other Arrow tables than the archive's."""
        names = pa.table({"device_id": [], "type": []}, _TYPES)
        if types.devices:
            names = pa.table([*map(list, zip(*types.devices, strict=True))], schema=_TYPES)
        self._duckdb.register("arrow_types", names)
        self._duckdb.execute(f"CREATE TEMP TABLE {TYPES_TABLE} AS SELECT * FROM arrow_types")
        self._duckdb.unregister("arrow_types")
        for view in typed_views(types.schemas):
            self._duckdb.execute(view)

    def _segments(
        self, needed: dict[str, Bounds], span: Span, compacted: Compacted | None
    ) -> dict[str, Sequence[Segment]]:
        """The segments for each table, from one listing, so that the tables agree."""
        spans = {
            table: self._arrivals(table, bounds, span, compacted)
            for table, bounds in needed.items()
        }
        if not spans:
            return {}
        whole = next(iter(spans.values()))
        for one in spans.values():
            whole = whole.or_(one)
        listed = list_segments(self._s3, self._bucket, start_ms=whole.start_ms, end_ms=whole.end_ms)
        found: dict[str, Sequence[Segment]] = {
            table: [one for one in listed if _overlaps(one, arrived)]
            for table, arrived in spans.items()
        }
        if compacted is not None:
            fresh = [one for one in found["readings"] if not compacted.reached.has(one)]
            found["readings"] = fresh
        return found

    def _arrivals(
        self, table: str, bounds: Bounds, span: Span, compacted: Compacted | None
    ) -> Span:
        """When the rows arrived that a table needs segments for. A reading can arrive any time
        after its ``ts``, but not before it by more than its clock may be ahead; an hour more allows
        for the stream's clock."""
        if table == "records":
            return bounds.arrived_at.and_(span)
        earliest = bounds.ts.and_(span).start_ms
        by_ts = None if earliest is None else earliest - self._clock_ahead_ms - HOUR_MS
        return Span(by_ts).and_(Span(compacted.reached.start_ms if compacted else None))


def _has(file: CompactedFile, bounds: Bounds) -> bool:
    """Whether a compacted file can have rows that a query needs."""
    start, end = bounds.ts
    if (start is not None and file.last_ts < start) or (end is not None and file.first_ts >= end):
        return False
    return bounds.device is None or file.first_device <= bounds.device <= file.last_device


def _overlaps(segment: Segment, span: Span) -> bool:
    start, end = span
    return (end is None or segment.start_ms < end) and (start is None or segment.end_ms > start)
