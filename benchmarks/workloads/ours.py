"""Our worker's parts, put together for a measure: no process, no network, nothing skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from benchmarks.workloads.traffic import NOW
from consumers.archive.commit import Archive, Limits, ObjectStore, Put
from consumers.archive.parquet import SegmentFile
from consumers.aws.in_flight import Calls
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.optimistic import Key, Outcome, Statement, Store, Stored
from consumers.hot.store import HotStore
from consumers.kcl.position import Position
from consumers.kcl.protocol import parse
from consumers.record import open_record
from consumers.shard.fold_queue import FoldQueue
from consumers.shard.processor import ShardProcessor
from consumers.shard.report import ShardStats
from ingest.freshness import Freshness, flush_policy
from ingest.tiers import DEFAULT_TIERS

SHARD = "shardId-000000000000"


class OpenTables:
    """A hot store that takes everything, holds nothing and costs nothing."""

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        return [Outcome.WRITTEN] * len(statements)

    def read(
        self, table: str, key_names: tuple[str, ...], keys: Sequence[Key]
    ) -> tuple[Stored, Sequence[Key]]:
        return {}, ()


class OpenBucket:
    """An archive that takes every object and remembers how large they were."""

    def __init__(self) -> None:
        self.bytes = 0

    def create(self, key: str, body: BinaryIO, metadata: Mapping[str, str]) -> Put:
        self.bytes += body.seek(0, 2)
        return Put.CREATED

    def metadata(self, key: str) -> Mapping[str, Any] | None:
        return None

    def keys(self, prefix: str) -> Sequence[str] | None:
        return []


class Granted:
    """A daemon that grants every checkpoint."""

    place = 0

    def checkpoint(self, position: Position | None, place: int | None = None) -> bool:
        return True


def hot_store(
    tables: Store | None = None, freshness: Freshness = "live", calls: Calls | None = None
) -> HotStore:
    """A hot store with the tiers of AWS."""
    policy = flush_policy(freshness)
    return HotStore(
        tables or OpenTables(),
        windows_table="windows",
        devices_table="devices",
        tiers=policy.tiers,
        latest_flush_s=policy.latest_flush_s,
        calls=calls,
        now_ms=lambda: NOW,
        durable=lambda _device, _runs: None,
    )


def stats() -> ShardStats:
    return ShardStats(SHARD, lambda: NOW, write=lambda _: None)


def judge() -> LatenessPolicy:
    return LatenessPolicy(DEFAULT_TIERS, clock_ahead_s=600)


def fold(lines: Sequence[bytes], hot: HotStore | None = None) -> HotStore:
    """Protocol lines in, folded windows with their id sets out: parse, validate, lateness, fold."""
    hot = hot or hot_store()
    queue = FoldQueue(hot, judge(), stats())
    for one in lines:
        for record in parse(one).records:
            queue.add(open_record(record))
        if queue.is_full:
            queue.fold()
    queue.fold()
    return hot


def processor(
    clock: Callable[[], float],
    bucket: ObjectStore | None = None,
    limits: Limits | None = None,
    hot: HotStore | None = None,
) -> ShardProcessor:
    """A whole shard's processor, with the real segment writer."""
    counted = stats()
    return ShardProcessor(
        hot=hot or hot_store(),
        archive=Archive(
            bucket or OpenBucket(),
            SHARD,
            limits or Limits(50_000, 16 << 20, 60.0),
            lambda: SegmentFile(SHARD),
        ),
        lateness=judge(),
        checkpointer=Granted(),
        stats=counted,
        clock=clock,
    )
