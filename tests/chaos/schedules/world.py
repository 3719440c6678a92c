"""One seeded schedule: a stream that is written, split and merged while children crash, stall,
overlap and hear nothing; then the invariants of design §3, against the independent oracle.

A schedule is a function of its seed. Everything that happens is one of :class:`Schedule`'s
steps; what a child waits with stays unanswered until a step picks it, so a zombie's write can
land after its successor's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from consumers.config import ChildConfig
from consumers.kcl.position import Position, position
from consumers.kcl.protocol import StreamRecord
from ingest.message import Message, decode
from ingest.record import Envelope, decode_record, encode_record
from simulator.load import garbage
from simulator.verification.ledger import OK, Entry
from simulator.verification.observe import ArchiveRow, Observed
from simulator.verification.oracle import Rules
from simulator.verification.verifier import verify
from tests.chaos.schedules.child import POISON, Clock, Plan
from tests.chaos.schedules.daemon import Child, Event, Gone, StuckError, batch
from tests.chaos.schedules.services import Call, Services
from tests.harness.shard import NOW, TIERS, payload

DEVICES: Final = ("dev-a", "dev-b", "dev-c", "dev-d")
BOOTS: Final = ("boot-one", "boot-two")
CLOCK_AHEAD_S: Final = 600
CONFIG: Final = ChildConfig(
    region="us-east-1", endpoint_url=None, windows_table="windows", devices_table="devices",
    bucket="archive", tiers=TIERS, latest_flush_s=1.0, clock_ahead_s=CLOCK_AHEAD_S,
    segment_readings=25, segment_bytes=1 << 20, segment_age_s=5.0,
)  # fmt: skip
_POINTS: Final = (
    "decoded", "between_batches", "hot_flushed", "before_put", "after_put", "before_checkpoint",
    "after_checkpoint", "shard_ended", "shutdown_requested",
)  # fmt: skip
_CHECKPOINT_ERRORS: Final = (
    "ThrottlingException", "KinesisClientLibDependencyException", "InvalidStateException",
    "ShutdownException",
)  # fmt: skip


@dataclass(eq=False)
class StreamShard:
    """A shard of the stream with the KCL's lease of it."""

    name: str
    parents: list[StreamShard] = field(default_factory=list)
    records: list[StreamRecord] = field(default_factory=list)
    closed: bool = False
    ended: bool = False
    checkpoint: Position | None = None
    owner: Life | None = None

    def start(self) -> int:
        """Index of the first record that a new owner is given."""
        if self.checkpoint is None:
            return 0
        return sum(record.position <= self.checkpoint for record in self.records)

    def ready(self) -> bool:
        """Whether the KCL gives its lease away: its parents are at their end."""
        return not self.ended and all(parent.ended for parent in self.parents)


@dataclass(eq=False)
class Life:
    """One child: its shard, how far it was given records, and what it waits with."""

    child: Child
    shard: StreamShard
    given: int
    planned: bool
    waits: Event | None = None
    doing: str = ""


class Schedule:
    """A run. ``defect`` is built into every child."""

    def __init__(
        self, seed: int, *, faults: float = 0.12, defect: Callable[[], None] | None = None
    ) -> None:
        self.chance = random.Random(seed)
        self.services = Services(self.chance, faults)
        self.clock = Clock()
        self.now = 0.0
        self.defect = defect
        self.shards = [StreamShard(f"shardId-{i:012d}") for i in range(2)]
        self.lives: list[Life] = []
        self.entries: list[Entry] = []
        self.poisoned: Counter[tuple[str, str, int]] = Counter()
        self.times: dict[tuple[str, str, int], int] = {}
        self.violations: list[str] = []
        self.arrived = NOW - 30  # the hour ends amid the traffic
        self.sequence = 49_600_000_000_000_000_000
        self.traffic = self._traffic()
        self.healing = False

    # -- what is sent ----------------------------------------------------------------------

    def _traffic(self) -> Iterator[Callable[[], None]]:
        """Messages with disorder, duplicates, two boots, late and fast clocks, garbage, poison."""
        messages: list[tuple[str, str, int, int, bytes]] = []
        known: list[tuple[str, str, int, int, dict[str, float]]] = []
        for device in DEVICES:
            for boot in BOOTS:
                seq = self.chance.choice([0, 0, 2**53 - 40])
                for _ in range(self.chance.randint(2, 4)):
                    readings = [self._reading() for _ in range(self.chance.randint(1, 4))]
                    self.times |= {
                        (device, boot, seq + i): ts for i, (ts, _) in enumerate(readings)
                    }
                    known += [(device, boot, seq + i, *one) for i, one in enumerate(readings)]
                    messages.append(
                        (device, boot, seq, len(readings), payload(boot, seq, readings))
                    )
                    seq += len(readings) + self.chance.choice([0, 0, 0, 3])
        messages += self.chance.choices(messages, k=6)
        self.chance.shuffle(messages)
        for number, message in enumerate(messages):
            if self.chance.random() < 0.08:
                yield lambda number=number: self._put_garbage(number)
            if self.chance.random() < 0.06:
                yield lambda: self._put_poison(*self.chance.choice(known))
            yield lambda message=message: self._put(*message)

    def _reading(self) -> tuple[int, dict[str, float]]:
        ts = NOW - self.chance.randint(0, 90_000)
        kind = self.chance.random()
        if kind < 0.02:
            ts = NOW - 30 * 86_400_000
        elif kind < 0.04:
            ts = NOW + 2 * CLOCK_AHEAD_S * 1000
        elif kind < 0.10:
            ts = NOW - 2 * 3_600_000  # too late for the finer tier only
        metrics = {"temperature": self.chance.uniform(-9, 9)}
        if self.chance.random() < 0.3:
            metrics["door_open"] = float(self.chance.random() < 0.5)
        if kind > 0.99:
            metrics["temperature"] = 1e300
        return ts, metrics

    def _put(
        self, device: str, boot: str, seq: int, count: int, data: bytes, expect: str = OK
    ) -> None:
        self.entries.append(
            Entry(len(self.entries), device, boot, seq, count, data, expect, NOW, NOW)
        )
        self._record(device, encode_record(data, device, NOW))

    def _put_garbage(self, number: int) -> None:
        made = garbage.make(self.chance, number)
        device = self.chance.choice(DEVICES)
        self._put(device, "garbage0", number, 0, made.message.payload, made.expect)

    def _put_poison(
        self, device: str, boot: str, seq: int, ts: int, good: dict[str, float]
    ) -> None:
        """A good reading, sent elsewhere as well, before one that makes the fold raise; that one
        has the identity and the time of another good one."""
        next_ts = self.times.get((device, boot, seq + 1), NOW)
        if not NOW - 90_000 <= next_ts <= NOW:  # it would not come to be folded
            next_ts = NOW
        readings = [(ts, good), (next_ts, {"temperature": 0.0, POISON: 1.0})]
        for i in range(2):
            self.poisoned[device, boot, seq + i] += 1
        self._record(device, encode_record(payload(boot, seq, readings), device, NOW))

    def _record(self, device: str, data: bytes) -> None:
        """A record, sometimes as one of several that share a sequence number (an aggregate)."""
        open_shards = [shard for shard in self.shards if not shard.closed]
        shard = open_shards[DEVICES.index(device) * len(open_shards) // len(DEVICES)]
        self.arrived += self.chance.choice([0, 1, 1, 2])
        sub = 0
        if shard.records and shard.records[-1].sequence_number == str(self.sequence):
            last = shard.records[-1]
            if self.chance.random() < 0.2:
                sub = (last.sub_sequence_number or 0) + 1
        if not sub:
            self.sequence += self.chance.randint(1, 9)
        shard.records.append(StreamRecord(data, str(self.sequence), device, sub, self.arrived))

    # -- what happens ----------------------------------------------------------------------

    def run(self) -> list[str]:
        """Play it to its end and return the violations, in plain words."""
        try:
            for _ in range(self.chance.randint(40, 120)):
                self._step()
            self._heal()
        except StuckError as error:
            self.violations.append(f"L: {error}")
        finally:
            for life in self.lives:
                life.child.kill()
        return self.violations or self._judge()

    def _step(self) -> None:
        """One thing happens."""
        for _ in range(self.chance.randint(0, 2)):
            if (put := next(self.traffic, None)) is not None:
                put()
        if self.chance.random() < 0.3:
            self.now += self.chance.choice([0.1, 1.0, 6.0])
            self.clock.set(self.now)
        if self.chance.random() < 0.015:
            self._reshard()
        if self.chance.random() < 0.025:
            self._lose_a_lease()
        for shard in self.shards:
            if shard.owner is None and shard.ready() and self.chance.random() < 0.7:
                self._begin(shard)
        if self.lives:
            life = self.chance.choice(self.lives)
            if self.chance.random() < 0.012:
                self._end(life, self.chance.choice([Child.kill, Child.hang_up]))
            else:
                self._advance(life)

    def _reshard(self) -> None:
        """Split a shard in two, or merge two."""
        open_shards = [shard for shard in self.shards if not shard.closed]
        if len(self.shards) > 6:
            return
        if len(open_shards) > 1 and self.chance.random() < 0.4:
            at = self.chance.randrange(len(open_shards) - 1)
            parents = open_shards[at : at + 2]
            children = 1
        else:
            parents, children = [self.chance.choice(open_shards)], 2
        for parent in parents:
            parent.closed = True
        at = self.shards.index(parents[-1]) + 1
        made = [
            StreamShard(f"shardId-{len(self.shards) + i:012d}", parents) for i in range(children)
        ]
        self.shards[at:at] = made

    def _lose_a_lease(self) -> None:
        """Another worker takes a shard; the old owner may go on for a while."""
        owned = [shard for shard in self.shards if shard.owner]
        if owned:
            self.chance.choice(owned).owner = None

    def _begin(self, shard: StreamShard) -> None:
        plan = Plan(defect=self.defect, seed=self.chance.randrange(2**32))
        if not self.healing and self.chance.random() < 0.25:
            plan = plan._replace(
                point=self.chance.choice(_POINTS),
                nth=self.chance.randint(1, 2),
                action=self.chance.choice(["crash", "crash", "raise"]),
            )
        life = Life(Child(self.clock, plan), shard, shard.start(), bool(plan.point))
        shard.owner = life
        self.lives.append(life)
        at = shard.checkpoint
        self._say(life, action="initialize", shardId=shard.name,
                  sequenceNumber=at.sequence if at else "TRIM_HORIZON",
                  subSequenceNumber=at.sub if at else 0)  # fmt: skip

    def _say(self, life: Life, **message: Any) -> None:
        life.doing = message["action"]
        life.child.say(**message)
        self._hear(life)

    def _hear(self, life: Life) -> None:
        """Let the child work until it waits for something."""
        event = life.child.event()
        if isinstance(event, Gone):
            self._left(life, event.status)
        elif isinstance(event, Call) or event["action"] == "checkpoint":
            life.waits = event
        else:
            life.waits = None
            self._done(life, event)

    def _done(self, life: Life, status: Any) -> None:
        if status.get("responseFor") != life.doing:
            self.violations.append(f"protocol: {life.doing} was answered with {status}")
        if life.doing == "shardEnded" and life.shard.owner is life and not life.shard.ended:
            self.violations.append(f"L: {life.shard.name} ended without a checkpoint of its end")
        if life.doing in ("shardEnded", "shutdownRequested", "leaseLost"):
            self._end(life, Child.hang_up)

    def _left(self, life: Life, status: int) -> None:
        if self.healing:
            self.violations.append(f"L: a child left with {status} though nothing was wrong")
        elif status not in (0, 1, -9, 70):
            self.violations.append(f"a child left with {status}")
        self._forget(life)

    def _end(self, life: Life, how: Callable[[Child], Any]) -> None:
        """Kill a child or hang up on it; what it waited with may be done all the same."""
        if isinstance(life.waits, Call) and self.chance.random() < 0.5:
            self.services.apply(life.waits)
        how(life.child)
        self._forget(life)

    def _forget(self, life: Life) -> None:
        self.lives.remove(life)
        if life.shard.owner is life:
            life.shard.owner = None

    def _advance(self, life: Life) -> None:
        """Answer what a child waits with, or give it something to do."""
        if isinstance(life.waits, Call):
            life.child.answer(self.services.answer(life.waits))
            self._hear(life)
        elif life.waits is not None:
            assert not isinstance(life.waits, Gone)
            life.child.say(**self._checkpoint(life, life.waits))
            self._hear(life)
        else:
            self._task(life)

    def _task(self, life: Life) -> None:
        shard = life.shard
        owns = shard.owner is life
        chance = self.chance.random()
        if not owns and chance < 0.3:
            self._say(life, action="leaseLost")
        elif owns and shard.closed and life.given == len(shard.records):
            self._say(life, action="shardEnded")
        elif owns and chance < 0.04:
            self._say(life, action="shutdownRequested")
        else:
            size = 1000 if self.healing else self.chance.choice([0, 0, 1, 3, 9, 30])
            records = shard.records[life.given : life.given + size]
            life.given += len(records)
            self._say(life, **batch(records))

    def _checkpoint(self, life: Life, asked: Any) -> dict[str, Any]:
        """The KCL's answer to a request for a checkpoint."""
        answer = {"action": "checkpoint", "sequenceNumber": asked["sequenceNumber"], "error": None}
        shard = life.shard
        if shard.owner is not life:
            return {**answer, "error": "ShutdownException"}
        if self.chance.random() < self.services.faults:
            error = self.chance.choice(_CHECKPOINT_ERRORS)
            if error == "ShutdownException":  # the KCL has found out that the lease is gone
                shard.owner = None
            return {**answer, "error": error}
        if asked["sequenceNumber"] is None:
            shard.ended = life.doing == "shardEnded"
            if life.given:  # to the KCL that is: all that it has handed over
                shard.checkpoint = shard.records[life.given - 1].position
            self._check_durable(shard, life.given)
            return answer
        at = position(asked["sequenceNumber"], asked["subSequenceNumber"] or 0)
        known = {record.position for record in shard.records[: life.given]}
        if at not in known or (shard.checkpoint is not None and at < shard.checkpoint):
            self.violations.append(f"K: {shard.name}: a checkpoint at {at}, which the KCL refuses")
            return {**answer, "error": "IllegalArgumentException"}
        shard.checkpoint = at
        self._check_durable(shard, shard.start())
        return answer

    def _heal(self) -> None:
        """All is well from now on: everything must drain, with no hand on it."""
        self.services.faults = 0.0
        for put in self.traffic:
            put()
        for life in [one for one in self.lives if one.planned]:
            self._end(life, Child.kill)
        self.healing = True
        for _ in range(5000):
            for shard in self.shards:
                if shard.owner is None and shard.ready():
                    self._begin(shard)
            behind = [life for life in self.lives if life.waits or not self._drained(life)]
            if not behind:
                break
            self.now += 0.5
            self.clock.set(self.now)
            self._heal_one(self.chance.choice(behind))
        for shard in self.shards:
            if not shard.ended and shard.start() < len(shard.records):
                behind_by = len(shard.records) - shard.start()
                self.violations.append(f"L: {shard.name} is {behind_by} records behind")

    def _heal_one(self, life: Life) -> None:
        if life.shard.owner is not life and not life.waits:  # a zombie has done its worst
            self._end(life, Child.hang_up)
        else:
            self.healing = life.shard.owner is life  # a zombie may well fail
            self._advance(life)
            self.healing = True

    def _drained(self, life: Life) -> bool:
        shard = life.shard
        return shard.owner is life and not shard.closed and shard.start() == len(shard.records)

    # -- what must hold --------------------------------------------------------------------

    def _check_durable(self, shard: StreamShard, until: int) -> None:
        """K: all up to a checkpoint is archived, and its good readings are in their windows."""
        rows = {
            (row.sequence_number, row.sub_sequence): row
            for row in self.services.rows()
            if row.shard_id == shard.name
        }
        for record in shard.records[:until]:
            if (record.sequence_number, record.sub_sequence_number) not in rows:
                self.violations.append(
                    f"K: {shard.name}: checkpoint past {record.sequence_number}, not archived"
                )
                return
        held = self._held()
        rules = Rules(TIERS, CLOCK_AHEAD_S)
        for record in shard.records[:until]:
            for identity, ts, metrics in _readings(record):
                good = POISON not in metrics and rules.disposition(ts, metrics, NOW) == OK
                if good and identity not in held and identity not in self.poisoned:
                    self.violations.append(
                        f"K: {shard.name}: checkpoint past reading {identity}, not durable"
                    )
                    return

    def _held(self) -> set[tuple[str, str, int]]:
        return {
            (device, boot, number)
            for (device, _), item in self.services.dynamo.tables.get("windows", {}).items()
            for boot, text in item["ids"]["M"].items()
            for number in _numbers(text["S"])
        }

    def _judge(self) -> list[str]:
        """H, A, C: what is there against what was sent."""
        rows = self.services.rows()
        found = list(self._misplaced(rows))
        internal = Counter(
            (row.device_id or "", row.boot or "", row.seq or 0)
            for row in rows
            if row.disposition == "internal_error"
        )
        if internal != self.poisoned:
            found.append("C: poisoned records are not accounted for")
        tables = self.services.dynamo.tables
        observed = Observed(
            windows=dict(tables.get("windows", {})),
            devices={device: item for (_, device), item in tables.get("devices", {}).items()},
            rows=[row for row in rows if row.disposition != "internal_error"],
            objects=len(self.services.objects),
        )
        report = verify(
            self.entries, observed, Rules(TIERS, CLOCK_AHEAD_S), now_s=NOW / 1000, exclusive=True
        )
        return found + ([] if report.exact else [f"H/A/C: {d}" for d in report.differences])

    def _misplaced(self, rows: Any) -> Iterator[str]:
        """A: every record of the stream is archived, once and whole, and nothing else is."""
        archived: Counter[tuple[str, str, int, int | None]] = Counter(
            (row.shard_id, row.sequence_number, row.sub_sequence, row.reading) for row in rows
        )
        wanted = Counter(
            (shard.name, record.sequence_number, record.sub_sequence_number or 0, index)
            for shard in self.shards
            for record in shard.records
            for index in _indexes(record)
        )
        for place in sorted((archived - wanted).keys(), key=repr)[:3]:
            yield f"A: {place} is archived {archived[place]} times, expected {wanted[place]}"
        for place in sorted((wanted - archived).keys(), key=repr)[:3]:
            yield f"A: {place} is not archived"


def _readings(
    record: StreamRecord,
) -> Iterator[tuple[tuple[str, str, int], int, dict[str, float]]]:
    """Identity, event time and metrics of a record's readings, none when it is garbage."""
    envelope = decode_record(record.data)
    message = decode(envelope.payload) if isinstance(envelope, Envelope) else None
    if isinstance(envelope, Envelope) and isinstance(message, Message):
        for i, reading in enumerate(message.readings):
            identity = (envelope.device_id, message.boot, message.seq + i)
            yield identity, reading.ts, dict(reading.metrics)


def _indexes(record: StreamRecord) -> list[int | None]:
    return list(range(sum(1 for _ in _readings(record)))) or [None]


def _numbers(ranges: str) -> Iterator[int]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def archived_rows(schedule: Schedule) -> list[ArchiveRow]:
    """What a schedule left in the archive, for a look at a failure."""
    return list(schedule.services.rows())
