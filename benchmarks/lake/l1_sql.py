"""L1: a day's mean by hour of one device in ten million readings, by ``penstock sql``, cold.

Each run is a process of its own, which has nothing of the archive. Baseline is the same command on
the archive alone, before it is compacted: a segment a minute and shard, as workers write at default
settings. Then the same day in the largest segments that a worker writes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from benchmarks.lake.archive import DAY_MS, START_MS, by_age, by_size
from benchmarks.lake.day import QUICK_READINGS, READINGS, Day, Ended, compaction, day
from benchmarks.measure import Progress, Result, Samples, check, limit, result

RUNS: Final = 5
RAW_RUNS: Final = 3


def run(progress: Progress) -> Result:
    """Measure ten million readings."""
    return _measure(READINGS, progress)


def quick(progress: Progress) -> Result:
    """Measure a million."""
    return _measure(QUICK_READINGS, progress)


def _measure(readings: int, progress: Progress) -> Result:
    ours = day(by_age(readings), progress)
    raw = _ask(ours, RAW_RUNS, "segments of a minute …", progress)
    large = _ask(day(by_size(readings), progress), RAW_RUNS, "large segments …", progress)
    compaction(by_age(readings), progress)
    compacted = _ask(ours, RUNS, "compacted …", progress)
    if _means(raw[0]) != _means(compacted[0]):
        raise RuntimeError("the compacted readings give another answer than the archive")
    wall = _seconds(compacted)
    return result(
        "a day of one device, cold",
        [
            limit(f"a day of one device in {readings:,} readings, cold", wall, unit="s",
                  at_most=1.5),
            check("on segments of a minute: times of that", _seconds(raw), wall, unit="s",
                  at_least=5),
            check("on segments of 50,000: times of that", _seconds(large), wall, unit="s"),
        ],
        readings=readings,
        cpu_s=Samples([one.cpu_s for one in compacted]).median,
    )  # fmt: skip


def _ask(asked: Day, runs: int, what: str, progress: Progress) -> list[Ended]:
    """The query, ``runs`` times; the first, which is not counted, warms up."""
    start, end = (_text(START_MS), _text(START_MS + DAY_MS))
    query = (
        "SELECT date_trunc('hour', ts) AS hour, avg(metrics['temperature']) AS mean FROM readings "
        f"WHERE device_id = 'sensor-00042' AND ts >= '{start}' AND ts < '{end}' "
        "GROUP BY hour ORDER BY hour"
    )
    progress(what)
    return [asked.penstock("sql", query) for _ in range(runs + 1)][1:]


def _text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(" ")


def _seconds(runs: list[Ended]) -> Samples:
    return Samples([one.wall_s for one in runs])


def _means(ended: Ended) -> list[tuple[Any, float]]:
    return [(one["hour"], round(one["mean"], 9)) for one in ended.answer]
