"""Measure what ``penstock cost`` computes with, and write ``infra/measured.json``.

``python -m benchmarks.record_writes``, some minutes; run it when the flush policy, the defaults of
a freshness or the archive's format change.
"""

from __future__ import annotations

import sys
from typing import Final, get_args

import msgspec

from benchmarks.workloads import traffic
from benchmarks.workloads.ours import SHARD
from benchmarks.workloads.virtual_shard import measure
from consumers.archive.commit import GROUP_ROWS
from consumers.archive.open_segment import OpenSegment
from consumers.archive.parquet import SegmentFile
from consumers.kcl.protocol import parse
from consumers.record import open_record
from infra.cost.measured import TABLE, HotPolicy, Measured, Measurements
from ingest.freshness import Freshness, flush_policy

INTERVALS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
ACKNOWLEDGED_INTERVALS: Final = (1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 3600.0)
METRICS: Final = (1, 3, 10, 30, 64)
POLICIES: Final = {name: HotPolicy(*flush_policy(name)) for name in get_args(Freshness)}


def archive_bytes(metrics: int, *, devices: int = 500, messages: int = 60) -> float:
    """Bytes of a reading of so many metrics in a segment of 30,000, a reading a message."""
    segment = OpenSegment(lambda: SegmentFile(SHARD), GROUP_ROWS)
    for line in traffic.lines(devices, messages, 1, metrics=metrics):
        for record in map(open_record, parse(line).records):
            record.readings = 1
            segment.append(record, len(record.payload), 0.0)
        segment.encode_rows()
    return segment.finish().seek(0, 2) / (devices * messages)


def main() -> None:
    """Measure every freshness at every interval."""
    rows = []
    for acknowledge, intervals in ((False, INTERVALS), (True, ACKNOWLEDGED_INTERVALS)):
        for freshness, policy in POLICIES.items():
            for every_s in intervals:
                writes = measure(policy, every_s, acknowledge=acknowledge)
                rows.append(Measured(freshness, every_s, writes, acknowledge))
                print(f"{freshness} {every_s:g} s, acknowledge {acknowledge}: {writes}",
                      file=sys.stderr, flush=True)  # fmt: skip
    sizes = {metrics: round(archive_bytes(metrics), 2) for metrics in METRICS}
    found = Measurements(POLICIES, tuple(rows), sizes)
    TABLE.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


if __name__ == "__main__":
    main()
