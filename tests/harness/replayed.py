"""A pipeline in memory whose archive is of real segments, so that it can be replayed and audited.

A shard's records go through the worker's own processor into tables and objects in memory; the lake
reads both through the same protocols as on AWS.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from consumers.archive.parquet import SegmentFile
from consumers.shard.fold_queue import JudgeFor
from consumers.shard.processor import ShardProcessor
from ingest.tiers import Tier
from lake.archive.segments import Segment, segment_of
from lake.audit.audit import Audit, Auditor, Range
from lake.replay.source import ArchiveSource
from tests.harness.shard import NOW, TIERS, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

HOUR_MS = 3_600_000
DEVICES = ("dev-a", "dev-b", "dev-c")


class MemorySegments:
    """:class:`lake.replay.source.Segments` of objects in memory. ``opened`` are the keys read."""

    def __init__(self, s3: MemoryS3) -> None:
        self._s3 = s3
        self.opened: list[str] = []

    def arrived(self, start_ms: int, end_ms: int | None) -> Sequence[Segment]:
        found = [segment_of(key, len(body)) for key, (body, _) in sorted(self._s3.objects.items())]
        return [
            one
            for one in found
            if one and one.end_ms > start_ms and (end_ms is None or one.start_ms < end_ms)
        ]

    def open(self, segment: Segment) -> Any:
        self.opened.append(segment.key)
        return pq.ParquetFile(io.BytesIO(self._s3.objects[segment.key][0]), pre_buffer=False)


class MemoryStored:
    """:class:`lake.audit.audit.Stored` of tables in memory."""

    def __init__(self, dynamo: MemoryDynamo, table: str = "windows") -> None:
        self._dynamo = dynamo
        self._table = table

    def of(
        self,
        devices: Iterable[str],
        tier: Tier,
        start_ms: int,
        end_ms: int,
        *,
        consistent: bool = False,
    ) -> Iterator[Any]:
        wanted = {*devices}
        for (device, name), item in sorted(self._dynamo.tables.get(self._table, {}).items()):
            start = int(item["expires_at"]["N"]) * 1000 - tier.ttl_s * 1000 - tier.size_ms
            if device in wanted and name.startswith(f"{tier.name}#") and start_ms <= start < end_ms:
                yield {**item, "device": {"S": device}, "window": {"S": name}}


class Pipeline:
    """One shard, its worker, its tables and its archive."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.shard = Shard()
        self.dynamo = MemoryDynamo()
        self.s3 = MemoryS3()
        self.segments = MemorySegments(self.s3)
        self.now = 0.0
        self._seq = 0

    def worker(self, judge_for: JudgeFor | None = None) -> ShardProcessor:
        """A worker that owns the shard from now on."""
        return open_worker(
            self.shard, self.dynamo, self.s3, lambda: self.now,
            new_buffer=partial(SegmentFile, self.shard.name), judge_for=judge_for,
        )  # fmt: skip

    def send(self, messages: int = 60, *, ahead: float = 0.1) -> None:
        """Put messages with duplicates, gaps, disorder, rejects and garbage into the shard."""
        sent: list[tuple[str, bytes]] = []
        for _ in range(messages):
            device = self.random.choice(DEVICES)
            count = self.random.randint(1, 4)
            readings = [
                (NOW + self.random.randint(-200_000, 500_000), {"a": self.random.uniform(-9, 9)})
                for _ in range(count)
            ]
            if self.random.random() < ahead:
                readings[0] = (NOW + 700_000, {"a": 1.0})  # too far ahead of the clock
            sent.append((device, payload("boot-one", self._seq, readings)))
            self._seq += 5  # an identity is one reading, also in what is sent later
            if self.random.random() < 0.2:
                sent.append(self.random.choice(sent))
        self.random.shuffle(sent)
        for device, data in sent:
            self.shard.put(device, data, NOW, NOW)
            if self.random.random() < 0.1:
                self.shard.put(device, b"\xff garbage", NOW, NOW)

    def work(self) -> None:
        """Process everything that was sent, and commit it."""
        worker = self.worker()
        worker.process(self.shard.records[self.shard.start() :])
        worker.shut_down()

    def source(self) -> ArchiveSource:
        return ArchiveSource(self.segments, clock_ahead_s=600)

    def audit(self, tiers: Sequence[Tier] = TIERS, table: str = "windows", **more: Any) -> Audit:
        """Compare everything."""
        options: dict[str, Any] = {
            "now_ms": lambda: NOW + 60_000,
            "quiet_ms": 30_000,
            "sleep": lambda _: None,
            **more,
        }
        auditor = Auditor(self.source(), MemoryStored(self.dynamo, table), **options)
        return auditor.run(Range(NOW - HOUR_MS, NOW + 2 * HOUR_MS, DEVICES, tiers, only=False))

    @property
    def windows(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """The stored windows, which a test may damage."""
        return self.dynamo.tables["windows"]
