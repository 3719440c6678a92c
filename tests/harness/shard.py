"""A shard and the workers that believe they own it, in memory, without processes.

``Shard`` plays Kinesis and the KCL's lease and checkpoint; ``open_worker`` builds the real
processor on the real hot store and archive over :mod:`tests.harness.stores`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from consumers.archive.commit import Archive, Limits
from consumers.archive.open_segment import SegmentBuffer
from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.store import HotStore
from consumers.kcl.position import Position
from consumers.kcl.protocol import StreamRecord
from consumers.shard.fold_queue import JudgeFor
from consumers.shard.processor import ShardProcessor
from consumers.shard.report import ShardStats
from consumers.traces.shard_traces import ShardTraces
from ingest.record import encode_record
from ingest.tiers import Tier
from tests.harness.segment_buffer import MemoryBuffer
from tests.harness.stores import MemoryDynamo, MemoryS3

TIERS = (Tier("10s", 1.0, 3600), Tier("1m", 3.0, 86400))
LIMITS = Limits(rows=40, bytes=1 << 20, age_s=5.0, group_rows=9)
NOW = 1_795_420_800_000  # 2026-11-23T08:00:00Z


def backoff() -> Backoff:
    """Waits that take no time."""
    return Backoff(sleep=lambda _: None, clock=lambda: 0.0)


def payload(boot: str, seq: int, readings: Sequence[tuple[int, dict[str, float]]]) -> bytes:
    return msgspec.json.encode(
        {
            "v": 1,
            "boot": boot,
            "seq": seq,
            "readings": [{"ts": ts, "metrics": metrics} for ts, metrics in readings],
        }
    )


class Shard:
    """Records in order, one lease epoch and one checkpoint."""

    def __init__(self, name: str = "shardId-000000000000") -> None:
        self.name = name
        self.records: list[StreamRecord] = []
        self.checkpoint: Position | None = None
        self.epoch = 0
        self.ended = False
        self.refused = 0
        self.on_checkpoint: Callable[[Position], None] = lambda _: None

    def put(self, device: str, data: bytes, arrived_at: int, received_at: int) -> None:
        self.put_raw(encode_record(data, device, received_at), arrived_at)

    def put_raw(self, data: bytes, arrived_at: int) -> None:
        sequence = str(49_600_000_000_000_000_000 + len(self.records) * 3)
        self.records.append(
            StreamRecord(
                data=data,
                sequence_number=sequence,
                approximate_arrival_timestamp=arrived_at,
            )
        )

    def start(self) -> int:
        """Index of the first record that a new owner is given."""
        if self.checkpoint is None:
            return 0
        return sum(record.position <= self.checkpoint for record in self.records)

    def lag(self) -> int:
        """Records after the checkpoint."""
        return len(self.records) - self.start()


class Lease:
    """A worker's view of the KCL: checkpoints work while its epoch is the shard's."""

    def __init__(self, shard: Shard) -> None:
        shard.epoch += 1
        self._shard = shard
        self._epoch = shard.epoch

    place = 0

    def checkpoint(self, position: Position | None, place: int | None = None) -> bool:
        if self._epoch != self._shard.epoch:
            self._shard.refused += 1
            return False
        if position is None:
            self._shard.ended = True
            return True
        known = self._shard.checkpoint
        assert known is None or position > known, "a checkpoint went backwards"
        self._shard.on_checkpoint(position)
        self._shard.checkpoint = position
        return True


def open_worker(
    shard: Shard,
    dynamo: MemoryDynamo,
    s3: MemoryS3,
    clock: Callable[[], float],
    *,
    tiers: Sequence[Tier] = TIERS,
    limits: Limits = LIMITS,
    calls: Calls | None = None,
    read_watched: Callable[[], frozenset[str] | None] | None = None,
    fold_wrapper: Callable[[HotStore], HotStore] = lambda hot: hot,
    new_buffer: Callable[[], SegmentBuffer] = MemoryBuffer,
    traces: ShardTraces | None = None,
    judge_for: JudgeFor | None = None,
) -> ShardProcessor:
    """A real processor that owns the shard's lease from now on."""
    stats = ShardStats(shard.name, lambda: NOW, write=lambda _: None)
    lateness = LatenessPolicy(tiers, clock_ahead_s=600)
    hot = HotStore(
        dynamo,
        windows_table="windows",
        devices_table="devices",
        tiers=tiers,
        latest_flush_s=1.0,
        now_ms=lambda: NOW,
        durable=traces.beside(stats.durable) if traces else stats.durable,
        backoff=backoff,
        calls=calls,
    )
    return ShardProcessor(
        hot=fold_wrapper(hot),
        archive=Archive(s3, shard.name, limits, new_buffer, backoff),
        lateness=lateness,
        checkpointer=Lease(shard),
        stats=stats,
        clock=clock,
        read_watched=read_watched,
        traces=traces,
        judge_for=judge_for,
    )
