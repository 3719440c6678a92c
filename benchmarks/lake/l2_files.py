"""L2: what compaction leaves of a day: files, and bytes a reading. Baseline is the archive."""

from __future__ import annotations

from benchmarks.lake.archive import SHARDS, by_age
from benchmarks.lake.day import QUICK_READINGS, READINGS, compaction, day
from benchmarks.measure import Progress, Result, Samples, check, limit, result


def run(progress: Progress) -> Result:
    """Measure ten million readings."""
    return _measure(READINGS, progress)


def quick(progress: Progress) -> Result:
    """Measure a million."""
    return _measure(QUICK_READINGS, progress)


def _measure(readings: int, progress: Progress) -> Result:
    ours = day(by_age(readings), progress)
    compaction(by_age(readings), progress)
    files, layout = ours.compacted().files, ours.made.layout
    size = sum(one.size for one in files)
    raw = Samples([ours.made.bytes / layout.readings])
    return result(
        "what compaction leaves",
        [
            limit("files a shard and day", Samples([len(files) / SHARDS]), unit="", at_most=24),
            check("bytes a reading", Samples([size / layout.readings]), raw, unit="B", at_most=1),
        ],
        readings=layout.readings,
        segments=layout.segments,
    )  # fmt: skip
