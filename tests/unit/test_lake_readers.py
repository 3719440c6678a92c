"""Independent readers get the answers of ``penstock sql``: DuckDB alone and PyArrow alone on the
archive's files, PyIceberg alone on the tables. None of them runs any code of Penstock.

The questions are the ten of docs/sql.md, whose answers :mod:`tests.unit.test_sql_page` knows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from pyiceberg.catalog import load_catalog

from consumers.archive.segment_key import HOUR_MS
from lake.catalog.config import READINGS
from lake.catalog.index import read_compacted
from lake.catalog.pointer import metadata_location
from lake.sql.session import Session
from tests.harness.known_archive import HOURS, build
from tests.harness.lake import BUCKET, FolderBucket, commit, message
from tests.harness.lake_tables import World
from tests.harness.shard import NOW
from tests.unit.test_sql_page import QUESTIONS

FIRST_ROW = """
    QUALIFY row_number() OVER (
        PARTITION BY device_id, boot, seq, ts::DATE
        ORDER BY arrived_at, received_at, shard_id, sequence_number::HUGEINT, sub_sequence, reading
    ) = 1
"""

Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An archive whose tables were made in two runs, the second with a late reading and a reading
    that the first has already."""
    folder = tmp_path_factory.mktemp("lake")
    made = World(FolderBucket(folder / "bucket"), random.Random(1), {})
    build(made.bucket)
    made.sync(HOURS)
    made.compact(HOURS)
    arrived = NOW + HOURS * HOUR_MS
    commit(made.bucket, [message(9_001, "mill-1", seq=12, ts=NOW - HOUR_MS, arrived_at=arrived),
                         message(9_002, "press-1", seq=0, ts=NOW, arrived_at=arrived)])  # fmt: skip
    made.sync(HOURS)
    made.compact(HOURS)
    commit(made.bucket, [message(9_003, "mill-1", seq=13, ts=NOW, arrived_at=arrived)])
    made.sync(HOURS)  # ``readings`` is behind by one segment
    return made


def by_penstock(world: World, query: str) -> Rows:
    s3: Any = world.bucket
    location = metadata_location(world.bucket.config, READINGS, lambda _: None)
    assert location is not None
    compacted = read_compacted(s3, BUCKET, world.bucket.config, location)
    with Session(s3, BUCKET, compacted=lambda: compacted) as lake:
        return rows_of(lake.query(query).to_arrow_table())


def rows_of(table: pa.Table) -> Rows:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def assert_same(found: Rows, wanted: Rows) -> None:
    """Equal but for the order in which a sum was added up."""
    assert wanted
    assert [tuple(map(_near, row)) for row in found] == wanted


def _near(value: Any) -> Any:
    numbers = value if isinstance(value, list) else [value]
    return pytest.approx(value) if all(isinstance(one, float) for one in numbers) else value


@pytest.fixture
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    yield connection
    connection.close()


@pytest.mark.parametrize(("about", "query"), QUESTIONS)
def test_duckdb_alone_on_the_archive_s_files_gives_the_same_answers(
    world: World, duck: duckdb.DuckDBPyConnection, about: str, query: str
) -> None:
    files = f"{world.bucket.config.root.removeprefix('file://')}/telemetry/**/*.parquet"
    duck.execute(f"CREATE VIEW records AS FROM read_parquet('{files}', hive_partitioning = false)")
    duck.execute(f"CREATE VIEW readings AS FROM records WHERE disposition = 'ok' {FIRST_ROW}")
    assert_same(rows_of(duck.sql(query).to_arrow_table()), by_penstock(world, query))


@pytest.mark.parametrize(("about", "query"), QUESTIONS)
def test_pyiceberg_alone_on_the_tables_gives_the_same_answers(
    world: World, duck: duckdb.DuckDBPyConnection, about: str, query: str
) -> None:
    """As a program with another catalog client: its rows, and an engine that only computes."""
    world.compact(HOURS)
    catalog = load_catalog("penstock", type="sql", uri=f"sqlite:///{world.bucket.config.uri}")
    for name in ("records", "readings"):
        duck.register(name, catalog.load_table(("test_lake", name)).scan().to_arrow())
    assert_same(rows_of(duck.sql(query).to_arrow_table()), by_penstock(world, query))


@pytest.fixture
def readings(world: World) -> pa.Table:
    """Distinct accepted readings by PyArrow alone."""
    root = Path(world.bucket.config.root.removeprefix("file://")) / "telemetry"
    rows = ds.dataset(root, format="parquet").to_table()
    rows = rows.filter(pc.equal(rows["disposition"], "ok"))
    rows = rows.append_column("day", pc.floor_temporal(rows["ts"], unit="day"))
    return rows.group_by(["device_id", "boot", "seq", "day"]).aggregate(
        [("ts", "min"), ("arrived_at", "min")]
    )


def test_pyarrow_alone_finds_the_same_readings(world: World, readings: pa.Table) -> None:
    query = "SELECT device_id, boot, seq, ts, arrived_at FROM readings ORDER BY ALL"
    columns = ["device_id", "boot", "seq", "ts_min", "arrived_at_min"]
    found = rows_of(readings.select(columns).sort_by([(name, "ascending") for name in columns]))
    assert_same(found, by_penstock(world, query))


def test_pyarrow_alone_counts_the_same_by_device_and_day(world: World, readings: pa.Table) -> None:
    query = (
        "SELECT device_id, date_trunc('day', ts) AS day, count(*) AS n, min(ts), max(ts) "
        "FROM readings GROUP BY ALL ORDER BY ALL"
    )
    table = readings.group_by(["device_id", "day"]).aggregate(
        [("seq", "count"), ("ts_min", "min"), ("ts_min", "max")]
    )
    found = table.sort_by([("device_id", "ascending"), ("day", "ascending")])
    assert_same(rows_of(found), by_penstock(world, query))


def test_pyarrow_alone_counts_the_same_rejects(world: World) -> None:
    root = Path(world.bucket.config.root.removeprefix("file://")) / "telemetry"
    rows = ds.dataset(root, format="parquet").to_table(filter=pc.field("disposition") != "ok")
    counted = rows.group_by(["disposition", "device_id"]).aggregate([("raw", "count")])
    found = rows_of(counted.sort_by([("disposition", "ascending"), ("device_id", "ascending")]))
    query = (
        "SELECT disposition, device_id, count(*) AS n FROM records WHERE disposition <> 'ok' "
        "GROUP BY ALL ORDER BY ALL"
    )
    assert_same(found, by_penstock(world, query))
