"""One shard played with the worker's own processor, in virtual time.

The devices of the shard send when the model says that they are connected; the shard is read when
the model says that a worker has its lease; the tables take what the model says is there for it.
Everything between is real: records as the rule writes them, decoder, fold, optimistic writer,
Parquet segments, checkpoints. When the lease is lost the process is dropped with what it held, and
a new one begins at the checkpoint.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from benchmarks.scale.day import Day, ShardStep
from benchmarks.scale.fleet import Scenario
from benchmarks.scale.real.messages import MIDNIGHT_MS, Message, messages, readings_of, record
from benchmarks.scale.real.virtual_aws import (
    Clock,
    Latencies,
    Share,
    VirtualBucket,
    VirtualCalls,
    VirtualTables,
    jitter,
)
from benchmarks.scale.service import SETTINGS, VCPU
from benchmarks.workloads.ours import stats
from consumers.archive.commit import Archive, Limits
from consumers.archive.parquet import SegmentFile
from consumers.aws.backoff import Backoff
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.store import HotStore
from consumers.kcl.position import Position
from consumers.kcl.protocol import StreamRecord
from consumers.shard.child import CALLS_IN_FLIGHT
from consumers.shard.processor import ShardProcessor
from infra.cost.measured import ROSTER

POLL_S: Final = SETTINGS.idle_ms / 1000


@dataclass
class ShardDay:
    """What one shard did. By step: its lag (s), readings sent by its devices, readings in stored
    windows (each once), items written and read. ``left`` are readings in the stream at the end;
    then what was received is made durable: ``durable_at_end``. ``again`` are records that were
    read again after a crash, from the checkpoint on."""

    shard: int
    devices: int
    lag_s: list[float] = field(default_factory=list)
    sent_by: list[int] = field(default_factory=list)
    durable: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    looked_up: list[int] = field(default_factory=list)
    busy_s: float = 0.0
    sent: int = 0
    left: int = 0
    durable_at_end: int = 0
    processes: int = 0
    writes: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    segments: int = 0
    again: int = 0

    @property
    def exact(self) -> bool:
        """Whether each reading that was received is durable, once."""
        return self.durable_at_end == self.sent - self.left


class _Checkpoints:
    """The daemon's side: grants every checkpoint, and drops the records before it. The first
    ``known`` of the unread records were read before, by a process that crashed."""

    def __init__(self) -> None:
        self.place = 0
        self.unread: deque[StreamRecord] = deque()
        self.read: deque[StreamRecord] = deque()
        self.known = self.again = 0

    def checkpoint(self, position: Position | None, place: int | None = None) -> bool:
        """See :class:`consumers.shard.processor.Checkpointer`."""
        while self.read and position is not None and self.read[0].position <= position:
            self.read.popleft()
        return True

    def take(self, most: int) -> list[StreamRecord]:
        """The next records, in order."""
        taken = [self.unread.popleft() for _ in range(min(most, len(self.unread)))]
        self.read += taken
        self.known = max(0, self.known - len(taken))
        return taken

    def rewind(self) -> None:
        """Begin again at the checkpoint."""
        self.known += len(self.read)
        self.again += len(self.read)
        self.unread.extendleft(reversed(self.read))
        self.read.clear()


class RealShard:
    """A shard with its tables, bucket and processor. ``share`` is what the tables have for it at
    a time; ``read_s`` and ``write_s`` are how long its process is at work a reading and an item."""

    def __init__(
        self,
        devices: int,
        share: Callable[[float], Share],
        read_s: float = 0.0,
        write_s: float = 0.0,
    ) -> None:
        self.clock = Clock()
        self.latencies = Latencies(seed=devices, item_s=write_s)
        self.tables = VirtualTables(self.clock, self.latencies, share, devices)
        self.bucket = VirtualBucket(self.latencies)
        self.stream = _Checkpoints()
        self.processes = 0
        self.busy_s = 0.0
        self._read_s = read_s
        self._jitter = jitter(devices)
        self._processor: ShardProcessor | None = None

    def put(self, message: Message, number: int) -> None:
        """A message reaches the stream."""
        self.stream.unread.append(record(message, number))

    def lag_s(self, now: float) -> float:
        """Age of the oldest record that no process has had yet."""
        if len(self.stream.unread) <= self.stream.known:
            return 0.0
        arrived = self.stream.unread[self.stream.known].approximate_arrival_timestamp
        return max(0.0, now - (arrived - MIDNIGHT_MS) / 1000)

    def crash(self) -> None:
        """The lease is lost, and the process with what it held."""
        self._processor = None
        self.stream.rewind()

    def poll(self) -> None:
        """One read of the shard, and all that its process does with it."""
        if self._processor is None:
            self._processor = self._new_processor()
        started = self.clock.now
        taken = self.stream.take(SETTINGS.max_records)
        self._processor.behind_ms = round(1000 * self.lag_s(started))
        self.stream.place += 1
        self.clock.now += len(taken) * self._read_s
        self._processor.process(taken)
        self.busy_s += self.clock.now - started

    def commit(self) -> None:
        """Make everything durable, as a worker that is stopped does."""
        if self._processor is not None:
            self._processor.shut_down()

    def _new_processor(self) -> ShardProcessor:
        self.processes += 1
        clock = self.clock

        def backoff() -> Backoff:
            return Backoff(clock.sleep, clock, self._jitter)

        hot = HotStore(
            self.tables, windows_table="windows", devices_table=ROSTER, tiers=SETTINGS.tiers,
            latest_flush_s=SETTINGS.latest_flush_s,
            now_ms=lambda: MIDNIGHT_MS + round(clock.now * 1000), durable=lambda *_: None,
            backoff=backoff, calls=VirtualCalls(CALLS_IN_FLIGHT, clock, self.latencies),
        )  # fmt: skip
        limits = Limits(SETTINGS.segment_readings, SETTINGS.segment_bytes, SETTINGS.segment_age_s)
        name = "shardId-000000000000"
        archive = Archive(
            self.bucket, name, limits, lambda: SegmentFile(name), backoff,
            VirtualCalls(1, clock, self.latencies),
        )  # fmt: skip
        return ShardProcessor(
            hot=hot, archive=archive, lateness=LatenessPolicy(SETTINGS.tiers, 600),
            checkpointer=self.stream, stats=stats(), clock=clock,
        )  # fmt: skip


def replay(day: Day, shard: int, members: Sequence[int], until: float = math.inf) -> ShardDay:
    """Play one shard of a day that the model has played with this shard watched, or its part
    before ``until`` (s)."""
    plan, slowed = day.scenario, _slowed(day)
    steps = day.of_shards[shard][: round(min(until, plan.day_s) / plan.step_s)]
    real = RealShard(
        len(members), _shares(steps, plan), day.costs.read_s * slowed, day.costs.write_s * slowed
    )
    found = ShardDay(shard, len(members))
    coming = Coming(messages(day, members), real)
    reading = False
    for index, step in enumerate(steps):
        end = (index + 1) * plan.step_s
        while real.clock.now < end:
            now = real.clock.now
            coming.put_until(now)
            if step.reads:
                reading = True
                real.poll()
                real.clock.now = max(real.clock.now, now + POLL_S)
            else:
                if reading:
                    real.crash()
                    reading = False
                real.clock.now = end
        coming.put_until(end)
        found.lag_s.append(real.lag_s(end))
        counted = real.tables.counted(end)
        found.durable.append(counted.durable)
        found.sent_by.append(coming.readings)
        found.written.append(counted.written)
        found.looked_up.append(counted.looked_up)
    found.left = sum(readings_of(one) for one in real.stream.unread)
    real.commit()
    found.sent = coming.readings
    found.durable_at_end = real.tables.durable
    found.writes = real.tables.writes
    found.refused, found.segments = real.tables.refused, len(real.bucket.objects)
    found.processes, found.busy_s = real.processes, real.busy_s
    found.again = real.stream.again
    return found


class Coming:
    """Messages that are to be put into a shard's stream. ``readings`` counts those that were."""

    def __init__(self, source: Iterator[Message], real: RealShard) -> None:
        self._source = source
        self._real = real
        self._next = next(source, None)
        self._number = 0
        self.readings = 0

    def put_until(self, now: float) -> None:
        """Put what is in the stream by then."""
        while self._next is not None and self._next.at <= now:
            self._real.put(self._next, self._number)
            self.readings += self._next.readings
            self._number += 1
            self._next = next(self._source, None)


def _slowed(day: Day) -> float:
    """How much longer a reading's CPU time takes, when all shards of a task are at work."""
    tasks = max(1.0, float(np.median(day.column("tasks"))))
    return max(1.0, day.scenario.shards / tasks / VCPU)


def _shares(steps: Sequence[ShardStep], plan: Scenario) -> Callable[[float], Share]:
    last = len(steps) - 1

    def share(now: float) -> Share:
        step = steps[min(last, int(now / plan.step_s))]
        return Share(step.writes, step.lookups)

    return share
