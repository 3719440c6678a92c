"""One seeded schedule: a stream that is written, split and merged while children crash, stall,
overlap and get no answer; then the invariants of design §3, against the independent oracle.

A schedule is a function of its seed. Everything that happens is one of :class:`Schedule`'s
steps; a call that a child waits for stays unanswered until a step picks it, so a zombie's write
can be applied after its successor's.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from consumers.config import ChildConfig
from consumers.kcl.position import position
from tests.chaos.schedules.child import Clock, Plan
from tests.chaos.schedules.daemon import Child, Gone, StuckError, batch
from tests.chaos.schedules.invariants import Invariants
from tests.chaos.schedules.services import Call, Services
from tests.chaos.schedules.stream import Life, Stream, StreamShard
from tests.chaos.schedules.traffic import CLOCK_AHEAD_S, Traffic
from tests.harness.shard import TIERS

CONFIG: Final = ChildConfig(
    stack="penstock",
    region="us-east-1", endpoint_url=None, windows_table="windows", devices_table="devices",
    bucket="archive", tiers=TIERS, latest_flush_s=1.0, clock_ahead_s=CLOCK_AHEAD_S,
    status_table="status", segment_readings=25, segment_bytes=1 << 20, segment_age_s=5.0,
)  # fmt: skip
_POINTS: Final = (
    "decoded", "between_batches", "hot_flushed", "before_put", "after_put", "before_checkpoint",
    "after_checkpoint", "shard_ended", "shutdown_requested",
)  # fmt: skip
_CHECKPOINT_ERRORS: Final = (
    "ThrottlingException", "KinesisClientLibDependencyException", "InvalidStateException",
    "ShutdownException",
)  # fmt: skip


class Schedule:
    """A run. ``faults`` is the share of calls that fail; ``defect`` is built into every child."""

    def __init__(
        self, seed: int, *, faults: float = 0.12, defect: Callable[[], None] | None = None
    ) -> None:
        self.chance = random.Random(seed)
        self.services = Services(self.chance, faults)
        self.clock = Clock()
        self.now = 0.0
        self.defect = defect
        self.stream = Stream(self.chance)
        self.traffic = Traffic(self.chance, self.stream)
        self.invariants = Invariants(self.services, self.stream, self.traffic)
        self.lives: list[Life] = []
        self.violations: list[str] = []
        self.healing = False

    @property
    def shards(self) -> list[StreamShard]:
        """Of the stream, in the order of their hash keys."""
        return self.stream.shards

    def run(self) -> list[str]:
        """Play it to its end and return the violations, as sentences."""
        try:
            for _ in range(self.chance.randint(40, 120)):
                self._step()
            self._heal()
        except StuckError as error:
            self.violations.append(f"L: {error}")
        finally:
            for life in self.lives:
                life.child.kill()
        return self.violations or self.invariants.at_the_end()

    def _step(self) -> None:
        """One thing happens."""
        for _ in range(self.chance.randint(0, 2)):
            if (put := next(self.traffic.puts, None)) is not None:
                put()
        if self.chance.random() < 0.3:
            self.now += self.chance.choice([0.1, 1.0, 6.0])
            self.clock.set(self.now)
        if self.chance.random() < 0.015:
            self.stream.reshard()
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
        self._send(life, action="initialize", shardId=shard.name,
                  sequenceNumber=at.sequence if at else "TRIM_HORIZON",
                  subSequenceNumber=at.sub if at else 0)  # fmt: skip

    def _send(self, life: Life, **message: Any) -> None:
        life.doing = message["action"]
        life.child.say(**message)
        self._await(life)

    def _await(self, life: Life) -> None:
        """Let the child run until it waits for something."""
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
        """Kill a child or close its input; the call that it waited for may be applied anyway."""
        if isinstance(life.waits, Call) and self.chance.random() < 0.5:
            self.services.apply(life.waits)
        how(life.child)
        self._forget(life)

    def _forget(self, life: Life) -> None:
        self.lives.remove(life)
        if life.shard.owner is life:
            life.shard.owner = None

    def _advance(self, life: Life) -> None:
        """Answer the call that a child waits for, or give it something to do."""
        if isinstance(life.waits, Call):
            life.child.answer(self.services.answer(life.waits))
            self._await(life)
        elif life.waits is not None:
            assert not isinstance(life.waits, Gone)
            life.child.say(**self._checkpoint(life, life.waits))
            self._await(life)
        else:
            self._task(life)

    def _task(self, life: Life) -> None:
        shard = life.shard
        owns = shard.owner is life
        chance = self.chance.random()
        if not owns and chance < 0.3:
            self._send(life, action="leaseLost")
        elif owns and shard.closed and life.given == len(shard.records):
            self._send(life, action="shardEnded")
        elif owns and chance < 0.04:
            self._send(life, action="shutdownRequested")
        else:
            size = 1000 if self.healing else self.chance.choice([0, 0, 1, 3, 9, 30])
            records = shard.records[life.given : life.given + size]
            life.given += len(records)
            self._send(life, **batch(records))

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
            self.violations += self.invariants.not_durable(shard, life.given)
            return answer
        at = position(asked["sequenceNumber"], asked["subSequenceNumber"] or 0)
        known = {record.position for record in shard.records[: life.given]}
        if at not in known or (shard.checkpoint is not None and at < shard.checkpoint):
            self.violations.append(f"K: {shard.name}: a checkpoint at {at}, which the KCL refuses")
            return {**answer, "error": "IllegalArgumentException"}
        shard.checkpoint = at
        self.violations += self.invariants.not_durable(shard, shard.start())
        return answer

    def _heal(self) -> None:
        """No more faults from now on: everything must drain without intervention."""
        self.services.faults = 0.0
        for put in self.traffic.puts:
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
        if life.shard.owner is not life and not life.waits:  # a zombie has nothing more to write
            self._end(life, Child.hang_up)
        else:
            self.healing = life.shard.owner is life  # a zombie may well fail
            self._advance(life)
            self.healing = True

    def _drained(self, life: Life) -> bool:
        shard = life.shard
        return shard.owner is life and not shard.closed and shard.start() == len(shard.records)
