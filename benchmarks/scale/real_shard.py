"""One shard played with the worker's own processor, in virtual time.

The devices of the shard send when the model says that they are connected; the shard is read when
the model says that a worker has its lease; the tables take what the model says is there for it.
Everything between is real: records as the rule writes them, decoder, fold, optimistic writer,
Parquet segments, checkpoints. When the lease is lost the process is dropped with what it held, and
a new one begins at the checkpoint.
"""

from __future__ import annotations

import base64
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, NamedTuple

import msgspec
import numpy as np

from benchmarks.scale.day import Day, ShardStep, Units
from benchmarks.scale.fleet import A_BATCH, Floats, Scenario, device_name
from benchmarks.scale.service import SETTINGS, VCPU
from benchmarks.scale.virtual_aws import (
    Clock,
    Latencies,
    Share,
    VirtualBucket,
    VirtualCalls,
    VirtualTables,
    jitter,
)
from benchmarks.workloads.ours import stats
from benchmarks.workloads.traffic import BOOT, NOW
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
from ingest.record import encode_record

POLL_S: Final = SETTINGS.idle_ms / 1000
MIDNIGHT_MS: Final = NOW - 8 * 3_600_000
ON_THE_WAY_S: Final = 0.05
"""From a device's publish to the stream: the rule, and its put."""
SEQUENCE: Final = 49_600_000_000_000_000_000_000
_READING: Final = '{"ts":%d,"metrics":{"temperature":%.2f,"humidity":44.5,"door_open":false}}'
PLENTY: Final = Share(float("inf"), float("inf"))


class Message(NamedTuple):
    """What a device of the shard sends: ``readings``, one each interval, the newest at ``taken``.
    It is in the stream at ``at``."""

    at: float
    device: int
    seq: int
    readings: int
    taken: float


@dataclass
class ShardDay:
    """What one shard did. By step: its lag (s), readings sent by its devices, readings in stored
    windows (each once), items written. ``left`` are readings in the stream at the end of the day;
    then what was received is made durable: ``durable_at_end``."""

    shard: int
    devices: int
    lag_s: list[float] = field(default_factory=list)
    sent_by: list[int] = field(default_factory=list)
    durable: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    busy_s: float = 0.0
    sent: int = 0
    left: int = 0
    durable_at_end: int = 0
    processes: int = 0
    writes: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    refused: int = 0
    segments: int = 0

    @property
    def exact(self) -> bool:
        """Whether each reading that was received is durable, once."""
        return self.durable_at_end == self.sent - self.left


class _Checkpoints:
    """The daemon's side: grants every checkpoint, and drops the records before it."""

    def __init__(self) -> None:
        self.place = 0
        self.unread: deque[StreamRecord] = deque()
        self.read: deque[StreamRecord] = deque()

    def checkpoint(self, position: Position | None, place: int | None = None) -> bool:
        """See :class:`consumers.shard.processor.Checkpointer`."""
        while self.read and position is not None and self.read[0].position <= position:
            self.read.popleft()
        return True

    def take(self, most: int) -> list[StreamRecord]:
        """The next records, in order."""
        taken = [self.unread.popleft() for _ in range(min(most, len(self.unread)))]
        self.read += taken
        return taken

    def rewind(self) -> None:
        """Begin again at the checkpoint."""
        self.unread.extendleft(reversed(self.read))
        self.read.clear()


class RealShard:
    """A shard with its tables, bucket and processor. ``share`` is what the tables have for it at
    a time; ``cpu_s`` the CPU seconds that its process has to wait for, a reading."""

    def __init__(self, devices: int, share: Callable[[float], Share], cpu_s: float) -> None:
        self.clock = Clock()
        self.latencies = Latencies(seed=devices)
        self.tables = VirtualTables(self.clock, self.latencies, share, devices)
        self.bucket = VirtualBucket(self.latencies)
        self.stream = _Checkpoints()
        self.processes = 0
        self.busy_s = 0.0
        self._cpu_s = cpu_s
        self._jitter = jitter(devices)
        self._processor: ShardProcessor | None = None

    def put(self, message: Message, number: int) -> None:
        """A message reaches the stream."""
        self.stream.unread.append(record(message, number))

    def lag_s(self, now: float) -> float:
        """Age of the oldest record that was not handed to the process."""
        if not self.stream.unread:
            return 0.0
        arrived = self.stream.unread[0].approximate_arrival_timestamp
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
        self.clock.now += len(taken) * self._cpu_s
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


def record(message: Message, number: int) -> StreamRecord:
    """The stream's record of a message, as the topic rule writes it."""
    first = message.seq
    times = [
        MIDNIGHT_MS + round(1000 * (message.taken - 60.0 * (message.readings - 1 - i)))
        for i in range(message.readings)
    ]
    rows = ",".join(_READING % (ts, 21 + (first + i) % 97 / 100) for i, ts in enumerate(times))
    payload = f'{{"v":1,"boot":"{BOOT}","seq":{first},"readings":[{rows}]}}'
    name = device_name(message.device)
    at = MIDNIGHT_MS + round(1000 * message.at)
    return StreamRecord(
        encode_record(payload.encode(), name, at), str(SEQUENCE + number), name, 0, at
    )


def messages(day: Day, members: Sequence[int]) -> Iterator[Message]:
    """What the devices of a shard send, in order of time, by the model's connections: the n-th of
    the day's connections is that of the device which is n-th in its crowd."""
    plan, every = day.scenario, day.scenario.every_s
    online = _online(day, np.arange(1, len(members) + 1) / len(members))
    taken = [0] * len(members)  # readings sent so far
    phases = [every * (i * 7919 % len(members)) / len(members) for i in range(len(members))]
    coming: list[Message] = []
    for minute in range(round(plan.day_s / every)):
        while coming and coming[0].at < minute * every:
            yield heappop(coming)
        for index, device in enumerate(members):
            at = minute * every + phases[index]
            begins = _begins(online[index], at, every)
            while begins is not None and taken[index] <= minute:
                size = min(minute + 1 - taken[index], A_BATCH)
                newest = phases[index] + (taken[index] + size - 1) * every
                sent = max(at, begins) + ON_THE_WAY_S
                heappush(coming, Message(sent, device, taken[index], size, newest))
                taken[index] += size
    yield from sorted(coming)


def _begins(online: list[tuple[float, float]], at: float, every: float) -> float | None:
    """When a reading taken at ``at`` can be sent before the next one is taken; ``None``: never."""
    for begin, end in online:
        if begin < at + every and at < end:
            return begin
    return None


def _online(day: Day, places: Floats) -> list[list[tuple[float, float]]]:
    """The times in which each device is connected."""
    plan = day.scenario
    curve = np.asarray(day.connected_curve)
    ends = (np.arange(len(curve)) + 1) * plan.step_s
    cut = plan.cut[0]
    before = curve[: round(cut / plan.step_s)]
    after = curve[round(cut / plan.step_s) :] - (before[-1] if len(before) else 0.0)
    result = []
    for place in places * plan.devices * (1 - 1e-9):
        spans = []
        first = int(np.searchsorted(before, place))
        if first < len(before):
            spans.append((float(ends[first]), cut))
        again = int(np.searchsorted(after, place))
        if again < len(after):
            spans.append((float(ends[len(before) + again]), float(plan.day_s)))
        result.append(spans)
    return result


def replay(day: Day, shard: int, members: Sequence[int]) -> ShardDay:
    """Play one shard of a day that the model has played with this shard watched."""
    steps, plan = day.of_shards[shard], day.scenario
    real = RealShard(len(members), _shares(steps, plan), day.costs.cpu_s * _slowed(day))
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
        found.durable.append(real.tables.durable)
        found.sent_by.append(coming.readings)
        found.written.append(real.tables.writes.total())
    found.left = sum(_readings(one) for one in real.stream.unread)
    real.commit()
    found.sent = coming.readings
    found.durable_at_end = real.tables.durable
    found.writes, found.reads = real.tables.writes, real.tables.reads
    found.refused, found.segments = real.tables.refused, len(real.bucket.objects)
    found.processes, found.busy_s = real.processes, real.busy_s
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


def _readings(one: StreamRecord) -> int:
    """Readings of a record that was not read: their times are counted in its payload."""
    payload = base64.b64decode(msgspec.json.decode(one.data)["payload"])
    return payload.count(b'"ts":')


def _shares(steps: Sequence[ShardStep], plan: Scenario) -> Callable[[float], Share]:
    last = len(steps) - 1

    def share(now: float) -> Share:
        step = steps[min(last, int(now / plan.step_s))]
        return Share(step.writes, step.lookups)

    return share


def catching_up(devices: int, seconds: float, every_s: float = 60.0) -> tuple[Units, float]:
    """Drain a backlog of so many seconds with the real processor, with tables that take everything:
    units a reading, and the readings a second that it writes."""
    real = RealShard(devices, lambda _: PLENTY, 0.0)
    count = 0
    for minute in range(round(seconds / every_s)):
        for device in range(devices):
            at = minute * every_s + every_s * device / devices
            real.put(Message(at, device, minute, 1, at), count)
            count += 1
    real.clock.now = started = seconds
    while real.stream.unread:
        real.poll()
    real.commit()
    writes = real.tables.writes
    units = Units(
        sum(writes.values()) / count - writes[ROSTER] / count,
        writes[ROSTER] / count,
        real.tables.reads / count,
    )
    assert real.tables.durable == count, "each reading once"
    return units, count / (real.clock.now - started)
