"""L4: readings replayed per second and core, from the archive's objects to folded windows.

Baseline is the worker's own fold of the same readings from protocol lines (P1): a replay decodes
Parquet in the place of JSON. Writes are counted apart: the second line builds every statement too,
for tables that cost nothing; P2 measures what a table costs.
"""

from __future__ import annotations

import gc
import io
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pyarrow.parquet as pq

from benchmarks.measure import Progress, Result, check, interleaved, result
from benchmarks.workloads import ours, traffic
from consumers.archive.parquet import SegmentFile
from consumers.archive.segment_key import object_key
from consumers.kcl.protocol import parse
from consumers.record import ShardRecord, open_record
from consumers.shard.fold_queue import FoldQueue
from ingest.tiers import DEFAULT_TIERS
from lake.archive.segments import Segment, segment_of
from lake.replay.expected import ExpectedWindows
from lake.replay.part import Replay, Target
from lake.replay.rows import Selection
from lake.replay.source import ArchiveSource

DEVICES = 500
READINGS = 100_000
SEGMENT_READINGS = 50_000
GROUP_READINGS = 5_000
EVERYTHING = Selection(0, 1 << 60)


class MemoryArchive:
    """Segments in memory, as :class:`lake.replay.source.Segments`."""

    def __init__(self, lines: Sequence[bytes], readings: int) -> None:
        """Archives what a worker makes of these lines, in segments of the default size."""
        records = _folded(lines)
        self._objects: dict[str, bytes] = {}
        size = SEGMENT_READINGS // readings
        for begin in range(0, len(records), size):
            key, body = _segment(records[begin : begin + size], GROUP_READINGS // readings)
            self._objects[key] = body

    def arrived(self, start_ms: int, end_ms: int | None) -> Sequence[Segment]:
        found = (segment_of(key, len(body)) for key, body in self._objects.items())
        return [segment for segment in found if segment is not None]

    def open(self, segment: Segment) -> Any:
        return pq.ParquetFile(io.BytesIO(self._objects[segment.key]), pre_buffer=False)

    def source(self) -> ArchiveSource:
        return ArchiveSource(self, clock_ahead_s=600)


def _folded(lines: Sequence[bytes]) -> list[ShardRecord]:
    queue = FoldQueue(ours.hot_store(), ours.judge(), ours.stats())
    records = [open_record(record) for line in lines for record in parse(line).records]
    for record in records:
        queue.add(record)
    queue.fold()
    return records


def _segment(records: Sequence[ShardRecord], group: int) -> tuple[str, bytes]:
    file = SegmentFile(ours.SHARD)
    left = iter(records)
    while rows := list(islice(left, group)):
        file.add(rows)
    body = file.finish()
    body.seek(0)
    key = object_key(ours.SHARD, records[0].position, records[0].arrived_at // 3_600_000)
    return key, body.read()


def fold(archive: MemoryArchive) -> int:
    """Everything before writes: decode, judge, fold."""
    source, expected = archive.source(), ExpectedWindows(DEFAULT_TIERS)
    for records in source.read(source.listed(EVERYTHING), EVERYTHING):
        expected.fold(records)
    assert expected.readings == READINGS
    return expected.readings


def replay(archive: MemoryArchive) -> int:
    """A replay's process as it runs, tables that cost nothing apart."""
    work = Replay(
        archive.source(),
        ours.OpenTables(),
        Target("windows", "devices", DEFAULT_TIERS),
        now_ms=lambda: traffic.NOW,
    )
    added = work.run(EVERYTHING).added
    assert added == READINGS
    return added


def without_collection(work: Any) -> Any:
    """As a replay's process runs: without the collector of circles."""

    def run() -> object:
        gc.disable()
        try:
            return work()
        finally:
            gc.enable()

    return run


def run(progress: Progress) -> Result:
    """Measure with 1 and with 20 readings a message."""
    checks, points = [], []
    for readings in (1, 20):
        progress(f"{readings} readings a message …")
        lines = list(traffic.lines(DEVICES, READINGS // DEVICES // readings, readings))
        archive = MemoryArchive(lines, readings)
        times = interleaved(
            {
                "worker": lambda lines=lines: ours.fold(lines),  # type: ignore[misc]
                "fold": without_collection(lambda archive=archive: fold(archive)),
                "replay": without_collection(lambda archive=archive: replay(archive)),
            },
            progress,
        )

        def rate(seconds: float) -> float:
            return READINGS / seconds

        what = f"{readings} a message"
        checks.append(
            {
                **check(
                    f"readings a second and core before writes, {what}",
                    times["fold"], times["worker"], unit="/s", scale=rate,
                ),
                "target": ">= 200000 /s",
                "met": rate(times["fold"].median) >= 200_000,
            }
        )  # fmt: skip
        checks.append(
            check(
                f"the same with every statement built, {what}",
                times["replay"], times["worker"], unit="/s", scale=rate,
            )
        )  # fmt: skip
        points.append(
            {
                "readings_a_message": readings,
                **{name: samples.median / READINGS * 1e6 for name, samples in times.items()},
            }
        )
    return result("readings replayed a second and core", checks, points=points)
