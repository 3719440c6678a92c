"""Sorting with little memory gives the readings that the archive's definition gives, row by row."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.archive.distinct import READING_COLUMNS, distinct_readings
from lake.archive.rows import ROW_SCHEMA
from lake.compaction.coded import CodedFile
from lake.compaction.files import write_files
from lake.compaction.known import KnownIdentities
from lake.compaction.merging import SINGLE_ROWS, WHOLE_DEVICES, merged
from lake.compaction.order import unknown_firsts
from lake.compaction.runs import Source, write_runs

DAY_MS = 86_400_000
SHARDS = ("shardId-000000000000", "shardId-000000000001")

rows = st.tuples(
    st.sampled_from(["a", "b", "c-10", "c-9"]),
    st.sampled_from(["boot-one", "boot-two"]),
    st.integers(0, 5),  # seq
    st.integers(0, 2 * DAY_MS - 1).map(lambda ts: ts // 1000 * 1000),
    st.dictionaries(st.sampled_from(["x", "y", "z"]), st.floats(allow_nan=False), max_size=2),
    st.integers(0, 2),  # arrived_at: often the same
    st.sampled_from(["ok", "ok", "ok", "late"]),
)
segments = st.lists(st.lists(rows, min_size=1, max_size=12), max_size=8)


def archive(folder: Path, some: Sequence[Sequence[Any]]) -> tuple[list[Source], Any]:
    """Segments in files, and all their rows; sequence numbers grow in a shard, past a digit."""
    sources, tables = [], []
    for number, rows in enumerate(some):
        shard = SHARDS[number % 2]
        columns = list(zip(*rows, strict=True))
        table = pa.table(
            {
                "device_id": columns[0],
                "ts": columns[3],
                "boot": columns[1],
                "seq": columns[2],
                "metrics": [list(one.items()) for one in columns[4]],
                "received_at": [7] * len(rows),
                "arrived_at": columns[5],
                "shard_id": [shard] * len(rows),
                "sequence_number": [str(85 + number * 12 + i) for i in range(len(rows))],
                "sub_sequence": [0] * len(rows),
                "reading": [0] * len(rows),
                "disposition": columns[6],
                "raw": [None] * len(rows),
            },
            schema=ROW_SCHEMA,
        )
        path = folder / f"{number}.parquet"
        pq.write_table(table, path, row_group_size=5, use_dictionary=True)
        sources.append(Source(str(path), shard))
        tables.append(table)
    return sources, pa.concat_tables(tables) if tables else ROW_SCHEMA.empty_table()


def compacted(folder: Path, sources: Sequence[Source], known: dict[int, list[Path]]) -> None:
    """One commit's files, added to those that are known, by day; nothing fits in memory."""
    folder.mkdir()
    runs = defaultdict(list)
    for run in write_runs(sources, folder, run_bytes=700, threads=2):
        runs[run.day].append(run)
    for day, mine in runs.items():
        old = KnownIdentities(CodedFile(one) for one in known[day])
        tables = merged([one.batches() for one in mine], WHOLE_DEVICES, group_rows=4)
        fresh = (unknown_firsts(one, old.near(one)) for one in tables)
        known[day] += [one.path for one in write_files(fresh, day, folder, file_bytes=1 << 20)]


def in_order(table: Any) -> list[Any]:
    rows = table.select(READING_COLUMNS).to_pylist()
    return sorted(rows, key=lambda one: (one["device_id"], one["ts"], one["boot"], one["seq"]))


@given(segments, st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_in_one_commit_or_two_each_reading_is_the_row_that_arrived_first(
    some: list[list[Any]], cut: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources, everything = archive(folder, some)
        known: dict[int, list[Path]] = defaultdict(list)
        compacted(folder / "first", sources, known)
        found = [pq.read_table(one) for mine in known.values() for one in mine]
        assert sorted((row for table in found for row in in_order(table)), key=repr) == sorted(
            in_order(distinct_readings(everything)), key=repr
        )
        for table in found:
            assert table.select(READING_COLUMNS).to_pylist() == in_order(table)

        known = defaultdict(list)
        compacted(folder / "second", sources[:cut], known)
        compacted(folder / "third", sources[cut:], known)
        ids = [
            (one["device_id"], one["boot"], one["seq"], day)
            for day, mine in known.items()
            for path in mine
            for one in pq.read_table(path).to_pylist()
        ]
        assert len(ids) == len(set(ids)) == distinct_readings(everything).num_rows


@given(segments, st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_a_merge_of_files_has_all_their_rows_in_order(some: list[list[Any]], group: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources, _ = archive(folder, some)
        runs = list(write_runs(sources, folder, run_bytes=500, threads=1))
        expected = []
        for run in runs:
            expected += pa.concat_tables(run.batches()).select(READING_COLUMNS).to_pylist()
        for together in (SINGLE_ROWS, WHOLE_DEVICES):
            for day in {one.day for one in runs}:
                mine = [one.batches() for one in runs if one.day == day]
                tables = list(merged(mine, together, group_rows=group))
                merged_rows = [row for one in tables for row in one.to_pylist()]
                keys = [(row["device_id"], row["ts"]) for row in merged_rows]
                assert keys == sorted(keys)
                devices = [{row["device_id"] for row in one.to_pylist()} for one in tables]
                if together == WHOLE_DEVICES:
                    assert sum(map(len, devices)) == len(set().union(*devices))
                assert sum(one.num_rows for one in tables) == sum(
                    one["ts"].timestamp() * 1000 // DAY_MS == day for one in expected
                )


def test_a_segment_with_more_names_of_metrics_than_a_dictionary_holds_is_compacted(
    tmp_path: Path,
) -> None:
    row: Any = ("a", "boot-one", 0, 0, {}, 0, "ok")
    many = [
        (*row[:2], seq, 0, {f"{seq:05}-{i}-{'n' * 50}": 1.0 for i in range(64)}, 0, "ok")
        for seq in range(600)
    ]
    sources, everything = archive(tmp_path, [many, [(*row[:2], 1_000, *row[3:])]])
    big = pa.Table.from_batches(everything.to_batches()).slice(0, 600)
    pq.write_table(big, sources[0].path)
    known: dict[int, list[Path]] = defaultdict(list)
    compacted(tmp_path / "out", sources, known)
    (path,) = known[0]
    assert pq.read_table(path).select(READING_COLUMNS).to_pylist() == in_order(everything)
    again = pa.concat_tables(CodedFile(path).batches(100)).to_pylist()
    assert again == in_order(everything)
