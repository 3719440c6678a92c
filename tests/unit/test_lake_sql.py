"""SQL on the archive: the readings that lake.archive defines, and nothing read that need not be."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consumers.archive.segment_key import HOUR_MS
from infra.commands import sql_output as output
from lake.archive.distinct import distinct_readings
from lake.archive.rows import read_segment
from lake.archive.segments import list_segments
from lake.sql.session import QueryError, Session
from tests.harness.known_archive import HOURS, build
from tests.harness.lake import BUCKET, MemoryBucket, commit, message, record
from tests.harness.shard import NOW

COLUMNS = "device_id, boot, seq, epoch_ms(ts), epoch_ms(arrived_at)"


@pytest.fixture
def lake() -> Iterator[Session]:
    with Session(build(), BUCKET) as session:  # type: ignore[arg-type]
        yield session


def opened(bucket: Any) -> Session:
    return Session(bucket, BUCKET)


def random_archive(seed: int) -> MemoryBucket:
    """Repeated readings within segments, over segments, shards and days, and rejected ones."""
    rng, bucket, number = random.Random(seed), MemoryBucket(), 1
    for hour in range(20, 30):
        for shard in ("shardId-000000000000", "shardId-000000000001"):
            records = []
            for _ in range(rng.randrange(1, 12)):
                seq = rng.randrange(6)
                day = rng.choice([0, 0, 0, 24 * HOUR_MS])
                kind: Any = rng.choice(["ok", "ok", "ok", "late"])
                records.append(
                    message(number, f"dev-{rng.randrange(3)}", seq, rng.randrange(1, 4),
                            ts=NOW + seq * 1000 + day, arrived_at=NOW + hour * HOUR_MS,
                            disposition=kind))  # fmt: skip
                number += rng.choice([1, 7, 90])
            commit(bucket, records, shard)
    return bucket


@pytest.mark.parametrize("seed", range(8))
def test_readings_are_what_the_archive_defines(seed: int) -> None:
    bucket: Any = random_archive(seed)
    rows = pa.concat_tables(
        read_segment(bucket, BUCKET, one.key) for one in list_segments(bucket, BUCKET)
    )
    expected = distinct_readings(rows)
    with opened(bucket) as lake:
        found = lake.query(f"SELECT {COLUMNS} FROM readings").to_arrow_table()
        assert lake.query("SELECT count(*) FROM records").fetchall() == [(rows.num_rows,)]
        one_day = lake.query(
            f"SELECT {COLUMNS} FROM readings WHERE ts < '2026-11-23 08:00:03+00' "
            "AND device_id = 'dev-1'"
        ).fetchall()
    wanted = [
        expected[name].cast("int64") if name in ("ts", "arrived_at") else expected[name]
        for name in ("device_id", "boot", "seq", "ts", "arrived_at")
    ]
    as_rows = sorted(zip(*(column.to_pylist() for column in wanted), strict=True))
    assert sorted(zip(*(c.to_pylist() for c in found), strict=True)) == as_rows
    assert sorted(one_day) == [r for r in as_rows if r[0] == "dev-1" and r[3] < NOW + 3000]


@pytest.mark.parametrize(
    ("query", "objects"),
    [
        ("SELECT count(*) FROM records", HOURS),
        ("SELECT count(*) FROM records WHERE arrived_at < '2026-11-23 10:00:00+00'", 2),
        ("SELECT 1 FROM records WHERE date_trunc('day', arrived_at) = '2026-11-24'", 0),
        ("SELECT 1 FROM records WHERE date_trunc('hour', arrived_at) = '2026-11-23 10:00:00Z'", 1),
        ("SELECT max(ts) FROM readings WHERE ts >= '2026-11-23 13:00:00+00'", 3),
        ("SELECT max(ts) FROM readings WHERE ts < '2026-11-23 09:00:00+00'", HOURS),
        ("SELECT 1 FROM readings a, readings b WHERE a.ts > '2026-11-23 13:00:00+00'", HOURS),
        ("SELECT 1 FROM readings WHERE ts > '2026-11-23 13:00:00+00' OR seq = 1", HOURS),
        ("SELECT 1 FROM readings WHERE ts > '2027-01-01'", 0),
        ("SELECT 1", 0),
    ],
)
def test_only_the_hours_that_a_query_needs_are_read(query: str, objects: int) -> None:
    with opened(build()) as lake:
        lake.query(query).to_arrow_table()
        assert lake.reads.objects == objects


def test_a_literal_that_looks_like_a_filter_is_none(lake: Session) -> None:
    text = "x'' AND readings_ts>=''2027-01-01 00:00:00+00''::TIMESTAMP WITH TIME ZONE"
    assert lake.query(f"SELECT 1 FROM readings WHERE boot <> '{text}'").fetchall()
    assert lake.reads.objects == HOURS
    assert lake.query(f"SELECT 1 FROM readings WHERE device_id <> '{text}'").fetchall()


def test_a_span_leaves_readings_by_ts_and_records_by_arrival(lake: Session) -> None:
    span: dict[str, Any] = {"start_ms": NOW + HOUR_MS, "end_ms": NOW + 2 * HOUR_MS}
    [(count, first, last)] = lake.query(
        "SELECT count(*), epoch_ms(min(ts)), epoch_ms(max(ts)) FROM readings", **span
    ).fetchall()
    assert (count, first, last) == (18, NOW + HOUR_MS, NOW + HOUR_MS + 3_000_000)
    assert lake.query("SELECT count(*) FROM records", **span).fetchall() == [(36,)]


def test_a_later_query_sees_what_was_committed_meanwhile(lake: Session) -> None:
    count = "SELECT count(*) FROM records"
    [(before,)] = lake.query(count).fetchall()
    commit(lake._s3, [message(9_000, arrived_at=NOW + 9 * HOUR_MS)])  # type: ignore[arg-type]
    assert lake.query(count).fetchall() == [(before + 1,)]
    assert lake.reads.objects == HOURS + 1


def test_an_empty_archive_has_tables_without_rows() -> None:
    with opened(MemoryBucket()) as lake:
        query = "SELECT (SELECT count(*) FROM readings) + (SELECT count(*) FROM records)"
        assert lake.query(query).fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT temprature FROM readings", 'column "temprature" not found'),
        ("SELECT 1 FROM windows", "windows does not exist"),
        ("DROP VIEW readings", "one SELECT"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("COPY readings TO 'x.csv'", "one SELECT"),
    ],
)
def test_a_query_that_cannot_be_run_is_refused_before_anything_is_read(
    lake: Session, query: str, says: str
) -> None:
    with pytest.raises(QueryError, match=says):
        lake.query(query)
    assert lake.reads.objects == 0


def test_local_copies_are_removed() -> None:
    with opened(build()) as lake:
        lake.query("SELECT count(*) FROM records").fetchall()
        folder = lake._files.folder
        assert list(folder.rglob("*.parquet"))
    assert not folder.exists()


def answer(lake: Session, query: str) -> Any:
    return lake.query(query).to_arrow_reader(2)


EVERY_KIND = """
SELECT * FROM (VALUES
  (1, 0.1::DOUBLE + 0.2::DOUBLE, NULL, 'a,b', MAP {'x': 1.5}, '\\x00\\x1b'::BLOB,
   TIMESTAMPTZ '2026-11-23 08:00:00.5+00', INTERVAL '26 hours', 12.5::DECIMAL(6, 2)),
  (2, 'nan'::DOUBLE, 3, chr(27) || '[2J', MAP {}, ''::BLOB, NULL, NULL, NULL))
  AS t (i, f, missing, s, m, b, ts, gap, money) ORDER BY i
"""


def test_csv_has_every_value_with_all_its_digits(lake: Session) -> None:
    out = io.StringIO()
    assert output.write_csv(answer(lake, EVERY_KIND), out) == 2
    assert out.getvalue().splitlines()[:2] == [
        "i,f,missing,s,m,b,ts,gap,money",
        '1,0.30000000000000004,,"a,b","{""x"":1.5}",001b,2026-11-23 08:00:00.500,26:00:00,12.50',
    ]


def test_json_is_an_array_of_objects(lake: Session) -> None:
    out = io.StringIO()
    output.write_json(answer(lake, EVERY_KIND), out)
    first, second = orjson.loads(out.getvalue())
    assert first["f"] == 0.1 + 0.2
    assert (first["m"], first["b"], first["gap"]) == ({"x": 1.5}, "001b", "26:00:00")
    assert first["ts"] == "2026-11-23T08:00:00.500000+00:00"
    assert second["f"] is None
    empty = io.StringIO()
    output.write_json(answer(lake, "SELECT 1 AS x WHERE false"), empty)
    assert orjson.loads(empty.getvalue()) == []


def test_a_table_cannot_steer_a_terminal(lake: Session) -> None:
    lines, more = output.table_lines(answer(lake, EVERY_KIND))
    assert not more
    assert lines[0].split() == ["i", "f", "missing", "s", "m", "b", "ts", "gap", "money"]
    assert all(line.isprintable() for line in lines)
    lines, more = output.table_lines(answer(lake, "SELECT range AS x FROM range(5000)"))
    assert (len(lines), more) == (output.TABLE_ROWS + 1, True)


def test_a_parquet_file_is_there_when_it_is_whole(lake: Session, tmp_path: Path) -> None:
    target = tmp_path / "answer.parquet"
    assert output.write_parquet(answer(lake, "SELECT range AS x FROM range(5000)"), target) == 5000
    assert pq.read_table(target)["x"].to_pylist() == list(range(5000))
    good = answer(lake, "SELECT range AS x FROM range(5000)")

    def ends_early() -> Iterator[Any]:
        yield good.read_next_batch()
        raise duckdb.OutOfMemoryException("too much")

    failing = pa.RecordBatchReader.from_batches(good.schema, ends_early())
    with pytest.raises(duckdb.OutOfMemoryException, match="too much"):
        output.write_parquet(failing, tmp_path / "other.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["answer.parquet"]


def test_a_rejected_record_is_in_records_alone() -> None:
    bucket = MemoryBucket()
    commit(bucket, [record(1, None, b"\x00garbage", disposition="malformed")])
    with opened(bucket) as lake:
        assert lake.query("SELECT disposition, raw FROM records").fetchall() == [
            ("malformed", b"\x00garbage")
        ]
        assert lake.query("SELECT * FROM readings").fetchall() == []
