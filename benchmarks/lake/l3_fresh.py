"""L3: from the commit of a segment to the end of a ``penstock sql`` that counts its rows, where
the day before is compacted. Asked at once; a schedule adds its own interval for readers of the
Iceberg tables."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from typing import Final

from benchmarks.lake.archive import DAY_MS, SHARDS, START_MS, by_age, put_segment
from benchmarks.lake.day import QUICK_READINGS, READINGS, Day, compaction, day
from benchmarks.measure import Progress, Result, Samples, limit, result

RUNS: Final = 3
_minute: Final = itertools.count()
"""Of the hour after the day, the next without a segment."""


def run(progress: Progress) -> Result:
    """Measure on ten million readings."""
    return _measure(READINGS, progress)


def quick(progress: Progress) -> Result:
    """Measure on a million."""
    return _measure(QUICK_READINGS, progress)


def _measure(readings: int, progress: Progress) -> Result:
    ours = day(by_age(readings), progress)
    compaction(by_age(readings), progress)
    checks = [
        limit(f"from a commit to {table} that have it", _seen(ours, table, progress), unit="s",
              at_most=60)
        for table in ("records", "readings")
    ]  # fmt: skip
    return result("from a commit to a query that sees it", checks, readings=readings)


def _seen(ours: Day, table: str, progress: Progress) -> Samples:
    made = ours.made
    s3, bucket = made.target.client("s3"), made.target.settings.bucket(made.target.account)
    taken = []
    for _ in range(RUNS + 1):
        before = _count(ours, table)
        put_segment(s3, bucket, made.layout.segments + SHARDS * next(_minute), made.layout)
        started = time.monotonic()
        after = _count(ours, table)
        taken.append(time.monotonic() - started)
        progress(f"{table}: {taken[-1]:.2f} s")
        if after != before + made.layout.rows:
            raise RuntimeError("a query did not see what was committed before it")
    return Samples(taken[1:])


def _count(ours: Day, table: str) -> int:
    """Rows after the day."""
    column = {"records": "arrived_at", "readings": "ts"}[table]
    since = datetime.fromtimestamp((START_MS + DAY_MS) / 1000 - 1, UTC)  # clocks of devices differ
    query = f"SELECT count(*) AS n FROM {table} WHERE {column} >= '{since.isoformat(' ')}'"
    return int(ours.penstock("sql", query).answer[0]["n"])
