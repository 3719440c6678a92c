"""The workers as a service: tasks by the scaling rule, the leases that they carry, and what they
ask of AWS beside telemetry: lease table, status items, probes of shards that nobody reads."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.scale.fleet import Floats, Scenario
from benchmarks.scale.quotas import VCPUS, Account, Refusals
from benchmarks.scaling import Rule, World
from consumers.kcl.capacity import capacity
from consumers.kcl.first_leases import lease_rows
from consumers.shard.report import ShardReport
from consumers.worker.lag import LEASES_S
from consumers.worker.status import WorkerStatus
from consumers.worker.status_table import REPORT_S
from infra.cost.metering import write_units
from infra.cost.month import RENEWALS
from infra.emulator.limits.item_size import item_bytes
from infra.emulator.limits.latency import latency_of
from ingest.settings import Settings
from ingest.tables import status as worker_report

VCPU: Final = 2.0
MEMORY_MB: Final = 8_192
"""The largest task of infra/templates/service.yaml; a test compares them."""
SPARE: Final = 3
"""The service may have so many times its least number of tasks."""
START_S: Final = World().start_s
SETTINGS: Final = Settings()
FAILOVER_S: Final = SETTINGS.failover_ms / 1000
MOVE_S: Final = 2 * FAILOVER_S
"""How often the KCL assigns leases, so how long a shard whose lease moves stands still at most."""
SHARD_READS: Final = 5.0
"""``GetRecords`` and ``GetShardIterator`` calls a second that a shard takes, each."""


@cache
def leases_a_task() -> int:
    """Shards that a task of this size carries when all are behind, as the worker plans it."""
    return capacity(SETTINGS, MEMORY_MB).leases


def rule_for(scenario: Scenario) -> Rule:
    """The template's rule with as many tasks as the shards need, and three times as many."""
    least = math.ceil(scenario.shards / leases_a_task())
    return Rule(least=least, most=SPARE * least)


@dataclass
class Service:
    """``wanted`` tasks by the rule, ``running`` at work. ``moved`` counts leases that changed
    hands. The lag's alarm acts after so many minutes as ``patience`` says; the template has 1."""

    scenario: Scenario
    account: Account
    refusals: Refusals
    rule: Rule
    patience: int = 1
    running: int = 0
    moved: int = 0
    task_hours: float = 0.0
    changes: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wanted = self.rule.least
        self._starting: list[tuple[float, int]] = [(0.0, self.wanted)]
        self._moves_until = np.zeros(self.scenario.shards)
        self._out_at = self._in_at = -math.inf
        self._quiet = self._late = 0
        self._back_at = -math.inf
        self._lag = self._busy = 0.0
        self._chance = random.Random(3)

    def step(self, now: float) -> Floats:
        """1.0 for each shard that is read in the step that begins now, 0.0 for the others."""
        while self._starting and self._starting[0][0] <= now:
            self._run(self._starting.pop(0)[1], now)
        self.task_hours += self.running * self.scenario.step_s / 3600
        if not self.scenario.workers_run(now):
            self._back_at = now + self.scenario.step_s + START_S + MOVE_S
            return np.zeros(self.scenario.shards)
        reads = (self._moves_until <= now) & (now >= self._back_at)
        reads[self.carried :] = False
        return reads.astype(np.float64)

    @property
    def carried(self) -> int:
        """Leases that the running tasks carry."""
        return min(self.scenario.shards, self.running * leases_a_task())

    def _run(self, tasks: int, now: float) -> None:
        """Start or end tasks, as many as the account's vCPUs let run."""
        granted = self.refusals.admit(VCPUS, tasks * VCPU, self.account[VCPUS], now)
        tasks = int(granted / VCPU)
        before, self.running = self.running, tasks
        self.changes.append((now, tasks))
        if not (before and tasks and before != tasks):
            return
        more, less = max(before, tasks), min(before, tasks)
        moving = np.arange(self.scenario.shards) % more >= less
        self._moves_until[moving] = now + self._chance.uniform(0.0, MOVE_S)
        self.moved += int(moving.sum())

    def observe(self, now: float, lag_s: float, busy: float) -> None:
        """The step that began at ``now`` is over: its greatest lag (s), and the share (%) of the
        time in which the busiest process was at work. The alarms look once a minute."""
        self._lag, self._busy = max(self._lag, lag_s), max(self._busy, busy)
        end = now + self.scenario.step_s
        if end % 60 >= self.scenario.step_s:
            return
        lag_s, busy, self._lag, self._busy = self._lag, self._busy, 0.0, 0.0
        if not self.scenario.workers_run(now):  # no worker, no metric, no alarm
            self._quiet = self._late = 0
            return
        rule = self.rule
        self._quiet = self._quiet + 1 if busy < rule.busy else 0
        self._late = self._late + 1 if lag_s >= rule.lag_s else 0
        wanted = rule.out(self.wanted, lag_s) if self._late >= self.patience else self.wanted
        if wanted > self.wanted and end - self._out_at >= rule.out_cooldown_s:
            self.wanted, self._out_at = wanted, end
            self._starting.append((end + START_S, wanted))
        elif (
            self._quiet >= rule.quiet_minutes
            and self.wanted > rule.least
            and end - self._in_at >= rule.in_cooldown_s
        ):
            self.wanted, self._in_at = self.wanted - 1, end
            self._starting = [(end, self.wanted)]


class Overhead(NamedTuple):
    """What the workers ask of AWS beside telemetry, a second: units of the lease table, write units
    of status items and their number and bytes, and calls to each shard that nobody reads."""

    lease_writes: float
    lease_reads: float
    status_writes: float
    status_items: int
    status_bytes: int
    probes_a_shard: float


def overhead(scenario: Scenario, tasks: int, orphans: int, checkpoints_a_second: float) -> Overhead:
    """Of so many tasks, when ``orphans`` shards have no worker.

    The lag monitor of every worker reads the whole lease table every 5 s, and asks the stream for
    each shard without an owner, one after the other, each round a second.
    """
    carried = min(scenario.shards - orphans, tasks * leases_a_task())
    scan = scenario.shards * lease_bytes() / 4096
    status = status_bytes(math.ceil(carried / tasks) if tasks else 0)
    call_s = latency_of("kinesis", "GetRecords").p50 / 1000
    round_s = max(1.0, orphans * 2 * call_s)
    return Overhead(
        lease_writes=carried / (FAILOVER_S / RENEWALS) + checkpoints_a_second,
        lease_reads=tasks * scan / LEASES_S,
        status_writes=tasks * write_units(status) / REPORT_S,
        status_items=tasks,
        status_bytes=status,
        probes_a_shard=tasks / round_s if orphans else 0.0,
    )


@cache
def lease_bytes() -> int:
    """Of one row of the lease table, as the worker writes it and with what the KCL adds."""
    top = str(2**128 - 1)
    shard: dict[str, Any] = {
        "ShardId": "shardId-000000000999", "SequenceNumberRange": {},
        "HashKeyRange": {"StartingHashKey": top, "EndingHashKey": top},
    }  # fmt: skip
    row = lease_rows([shard], "LATEST")[0]
    owned = {
        "leaseOwner": {"S": "penstock-0123456789abcdef"}, "throughputKBps": {"N": "12.345"},
        "checkpoint": {"S": "4" * 56},
    }  # fmt: skip
    return item_bytes({**row, **owned})


@cache
def status_bytes(shards: int) -> int:
    """Of the status item of a worker with so many shards, as it writes it."""
    status = WorkerStatus(clock=lambda: 0.0)
    at = 1_795_420_800_000
    for number in range(shards):
        status.report(
            ShardReport(
                shard=f"shardId-{number:012d}", pid=1_000 + number, records=1_440_000 + number,
                dispositions={"ok": 1_440_000 + number}, durable=1_440_000 + number,
                latency={900 + number: 1_440_000}, newest="4" * 56, behind_ms=120 + number,
                uncommitted_since=at - 97 * number, unflushed_since=at - 53 * number,
                commits=1_440, committed_at=at - 41 * number, checkpointed_at=at - 41 * number,
                items_written=1_700_000 + number, busy_ms=86_000 + number,
            )
        )  # fmt: skip
    report = {**status.snapshot(), "messages_per_s": 483.3, "readings_per_s": 483.3}
    return item_bytes(worker_report.write("ip-10-83-0-17-0123abcd", report, at))
