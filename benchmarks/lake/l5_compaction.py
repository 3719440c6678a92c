"""L5: readings compacted a second and core, and the most memory of it, by ``penstock lake
compact``, everything included: start, listing, reading, sorting, writing, commit. Segments are the
largest that a worker writes, as on a busy stream, and then those of a minute.

Baseline is what a competent user would write: DuckDB's ``COPY`` of the distinct rows in order, over
local copies of the same segments, within the same memory where that is enough for it, else in more.
It has no table, no commit, and nothing that was there before.
"""

from __future__ import annotations

import sys
from typing import Final

from benchmarks.baselines import duckdb_copy
from benchmarks.lake.archive import by_age, by_size
from benchmarks.lake.day import (
    QUICK_READINGS,
    READINGS,
    Day,
    Ended,
    compaction,
    day,
    run_measured,
)
from benchmarks.measure import (
    Progress,
    Result,
    Samples,
    check,
    floor,
    limit,
    result,
)
from lake.archive.segments import list_segments
from lake.sql.segment_files import SegmentFiles

MEMORY: Final = ("600MB", "1200MB", "2400MB", "4800MB")
"""What the baseline is given: the first is what ``penstock lake compact`` takes for rows."""


def run(progress: Progress) -> Result:
    """Measure ten million readings, and a quarter of them for the curve."""
    return _measure((READINGS // 4, READINGS), progress)


def quick(progress: Progress) -> Result:
    """Measure a million."""
    return _measure((QUICK_READINGS,), progress)


def _measure(sizes: tuple[int, ...], progress: Progress) -> Result:
    readings = sizes[-1]
    ended = {size: compaction(by_size(size), progress) for size in sizes}
    small = compaction(by_age(readings), progress)
    progress("DuckDB …")
    stock, memory = _stock(day(by_size(readings), progress))

    def rate(seconds: float) -> float:
        return readings / seconds

    base = Samples([stock.cpu_s])
    checks = [
        floor("readings a second and core, segments of 50,000", Samples([ended[readings].cpu_s]),
              base, unit="/s", at_least=500_000, scale=rate),
        check("the same, segments of a minute", Samples([small.cpu_s]), base, unit="/s",
              scale=rate),
        limit("peak memory", Samples([ended[readings].peak_mb]), unit="MB", at_most=1024),
    ]  # fmt: skip
    points = [
        {"readings": size, "seconds": one.wall_s, "cpu_s": one.cpu_s, "peak_mb": one.peak_mb}
        for size, one in ended.items()
    ]
    return result(
        "compaction", checks, points=points, readings=readings,
        duckdb={"memory_limit": memory, "peak_mb": stock.peak_mb},
    )  # fmt: skip


def _stock(ours: Day) -> tuple[Ended, str]:
    """The baseline on local copies of the day's segments, and the memory that it was given: what
    ours takes, or the first more that is enough."""
    made = ours.made
    s3, bucket = (
        made.target.client("s3", "reader"),
        made.target.settings.bucket(made.target.account),
    )
    files = SegmentFiles(s3, bucket)
    try:
        files.fetch(list_segments(s3, bucket))
        for memory in MEMORY[:-1]:
            command = [sys.executable, "-m", duckdb_copy.__name__, str(files.folder), memory]
            try:
                return run_measured(command, made.folder, dict(made.environment)), memory
            except RuntimeError as error:
                if not str(error).startswith(duckdb_copy.OUT_OF_MEMORY):
                    raise
        command = [sys.executable, "-m", duckdb_copy.__name__, str(files.folder), MEMORY[-1]]
        return run_measured(command, made.folder, dict(made.environment)), MEMORY[-1]
    finally:
        files.close()
