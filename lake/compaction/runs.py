"""Sorted runs: the accepted rows of a chunk of segments on the local disk, each run as much as
memory may hold, of one day and in the order of a compacted file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from consumers.disposition import OK
from lake.archive.distinct import READING_COLUMNS
from lake.compaction.coded import CodedFile
from lake.compaction.order import ARRIVAL, ORDER, joined, ordered
from lake.compaction.plan import DAY_MS

_DAY: Final = "day"
BATCH_ROWS: Final = 16_384
"""Rows that are read of a run at once."""
_SHARD_ROWS: Final = 2**40
"""More rows than a shard has in a chunk."""


class Source(NamedTuple):
    """A segment's local copy, and its shard. Those of a shard follow one another."""

    path: str
    shard: str


class Run(NamedTuple):
    """A file of sorted rows of a UTC day (since 1970)."""

    path: Path
    day: int

    def batches(self) -> Iterator[Any]:
        """Its rows in small tables. They are read, not mapped: what was used is released."""
        with pa.OSFile(str(self.path)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])


def write_runs(
    sources: Sequence[Source], folder: Path, run_bytes: int, threads: int
) -> Iterator[Run]:
    """Write the accepted rows of these segments in runs of about ``run_bytes`` in memory (a reading
    of three metrics has 92). Writing one takes three times that."""
    parts: list[Any] = []
    size = number = 0
    for part in _numbered(sources, threads):
        parts.append(part)
        size += part.nbytes
        if size >= run_bytes:
            yield from _write(parts, folder, number)
            size, number = 0, number + 1
    if parts:
        yield from _write(parts, folder, number)


def _write(parts: list[Any], folder: Path, number: int) -> Iterator[Run]:
    """A run for each day that is in these tables, which are released."""
    rows = joined(parts)
    parts.clear()
    days = pc.divide(pc.floor_temporal(rows["ts"], unit="day").cast(pa.int64()), DAY_MS)
    counts = {one["values"]: one["counts"] for one in pc.value_counts(days).to_pylist()}
    if len(counts) == 1:
        rows = ordered(rows)
    else:
        rows = ordered(rows.append_column(_DAY, days), (_DAY, *ORDER)).drop_columns(_DAY)
    begin = 0
    for day, count in sorted(counts.items()):
        run = Run(folder / f"{number}-{day}.run", day)
        with pa.ipc.new_file(run.path, rows.schema) as file:
            file.write_table(rows.slice(begin, count), max_chunksize=BATCH_ROWS)
        begin += count
        yield run


def _numbered(sources: Sequence[Source], threads: int) -> Iterator[Any]:
    """The accepted rows of each segment, with their place in the archive: within a shard they are
    in the order of the stream, and shards are ordered by name."""
    shards = sorted({one.shard for one in sources})
    next_number = {shard: place * _SHARD_ROWS for place, shard in enumerate(shards)}
    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(sources), threads):
            some = sources[begin : begin + threads]
            for source, rows in zip(some, pool.map(_accepted, some), strict=True):
                if rows is not None:
                    start = next_number[source.shard]
                    yield rows.append_column(ARRIVAL, _count(start, rows.num_rows))
                    next_number[source.shard] += rows.num_rows


def _count(start: int, rows: int) -> Any:
    return pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), rows), start=start)


def _accepted(source: Source) -> Any | None:
    """The accepted rows of a segment; ``None`` without any."""
    file = CodedFile(source.path, ["disposition"])
    groups = []
    for group in range(file.groups):
        rows = file.read(group, (*READING_COLUMNS, "disposition"))
        accepted = pc.equal(rows["disposition"], OK)
        rows = rows if pc.all(accepted).as_py() else rows.filter(accepted)
        if rows.num_rows:
            groups.append(rows.drop_columns("disposition"))
    return pa.concat_tables(groups) if groups else None
