"""The model: every shard of the stream through a day, in steps. Pure.

What is global (quotas, the tables' units, tasks) is computed over all shards in each step. Readings
are a fluid: the shards' order within a step does not matter, and what a step cannot serve waits in
the stream. So ``made = on devices + in the stream + folded``, which the caller may check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.scale.day import Costs, Day, ShardStep, Units
from benchmarks.scale.fleet import Fleet, Floats, Scenario
from benchmarks.scale.quotas import (
    TABLE_READS,
    TABLE_WRITES,
    WARM_READS,
    WARM_WRITES,
    Account,
    OnDemand,
    Refusals,
)
from benchmarks.scale.service import SETTINGS, VCPU, Service, overhead, rule_for
from consumers.shard.processor import CATCHING_UP_MS
from infra.cost.workload import SHARD_BYTES

BEHIND_S: Final = CATCHING_UP_MS / 1000
READ_BYTES: Final = 2 * SHARD_BYTES
"""What a shard gives in a second."""


def play(
    scenario: Scenario,
    account: Account,
    costs: Costs,
    shards: npt.NDArray[np.int64],
    watch: Sequence[int] = (),
    patience: int = 1,
) -> Day:
    """Play the scenario. ``shards`` is the shard of each device; ``watch`` names shards whose
    steps are kept; ``patience`` is how many minutes of lag add tasks."""
    refusals = Refusals()
    world = _World(scenario, account, costs, refusals, shards)
    world.service.patience = patience
    day = Day(scenario, account, refusals, costs, of_shards={number: [] for number in watch})
    for index in range(scenario.steps):
        now = index * scenario.step_s
        row = world.step(now, day)
        for name, value in row.items():
            day.columns.setdefault(name, []).append(value)
    world.finish(day)
    return day


class Scarce(NamedTuple):
    """Of which units the tables have too few."""

    writes: bool
    reads: bool


class _World:
    """The state of a play."""

    def __init__(
        self,
        scenario: Scenario,
        account: Account,
        costs: Costs,
        refusals: Refusals,
        shards: npt.NDArray[np.int64],
    ) -> None:
        self.scenario, self.account, self.costs, self.refusals = scenario, account, costs, refusals
        self.fleet = Fleet(scenario, account, refusals)
        self.service = Service(scenario, account, refusals, rule_for(scenario))
        counts = np.bincount(shards, minlength=scenario.shards)
        self.weight = np.maximum(counts / counts.sum(), 1e-12)
        self.served = np.zeros(scenario.shards)
        self.lag = np.zeros(scenario.shards)
        self._arrived = np.zeros(scenario.steps + 1)
        self._times = np.arange(scenario.steps + 1) * scenario.step_s
        self._step = 0
        self._records = 0.0
        self.writes = OnDemand(account[WARM_WRITES], account[TABLE_WRITES])
        self.roster = OnDemand(account[WARM_WRITES], account[TABLE_WRITES])
        self.lookups = OnDemand(account[WARM_READS], account[TABLE_READS])
        self.scarce = Scarce(writes=False, reads=False)
        self.used = {"window_writes": 0.0, "device_writes": 0.0, "reads": 0.0}

    def step(self, now: float, day: Day) -> dict[str, float]:
        """Devices, stream, workers, tables; one row of the day's columns."""
        plan = self.scenario
        sent = self.fleet.step(now)
        self._step += 1
        self._arrived[self._step] = self._arrived[self._step - 1] + sent.readings
        self._records += sent.messages
        arrived = self.weight * self._arrived[self._step]
        waiting = np.maximum(0.0, arrived - self.served)
        reads = self.service.step(now)
        live = self.lag < BEHIND_S
        room = self._room(reads)
        want = np.minimum(waiting, room) * reads
        share = self._grant(want, live, now)
        self.served += want * share
        behind = arrived - self.served
        self.lag = np.where(behind > 1e-3, now + plan.step_s - self._arrival_of_next(), 0.0)
        self._watch(day, reads, want * share, live)
        greatest, busy = float(self.lag.max()), self._busy(want, room, share)
        self.service.observe(now, greatest, busy)
        if _begins_a_minute(now, plan.step_s):
            self._overhead(day, reads, now)
        day.connected_curve.append(self.fleet.connects)
        units = self._units(want * share, live)
        return {
            "connected": self.fleet.connected,
            "connects": sent.newly / plan.step_s,
            "on_devices": self.fleet.spooled + self.fleet.waiting,
            "messages": sent.messages / plan.step_s,
            "readings": sent.readings / plan.step_s,
            "served": float((want * share).sum()) / plan.step_s,
            "waiting": float(behind.sum()),
            "lag_s": greatest,
            "middle_lag_s": float(np.median(self.lag)),
            "write_units": (units.windows + units.devices) / plan.step_s,
            "write_limit": self.writes.limit(now),
            "read_units": units.reads / plan.step_s,
            "read_limit": self.lookups.limit(now),
            "granted": share,
            "tasks": float(self.service.running),
            "read_shards": float(reads.sum()),
            "busy": busy,
        }

    def _room(self, reads: Floats) -> Floats:
        """Readings that each shard could do in the step if the tables took everything."""
        plan, costs = self.scenario, self.costs
        polled = SETTINGS.max_records * 1000 / SETTINGS.idle_ms
        kinesis = min(READ_BYTES / costs.record_bytes, polled)
        a_record = max(1.0, self.fleet.sent / self._records) if self._records else 1.0
        tasks = max(1, self.service.running)
        cpu = VCPU * tasks / max(1.0, float(reads.sum())) / costs.cpu_s
        most = min(kinesis * a_record, cpu, costs.pipeline) * plan.step_s
        return np.full(plan.shards, most)

    def _units(self, readings: Floats, live: npt.NDArray[np.bool_]) -> Units:
        quick, slow = float(readings[live].sum()), float(readings[~live].sum())
        return Units(
            *(quick * a + slow * b for a, b in zip(self.costs.live, self.costs.behind, strict=True))
        )

    def _grant(self, want: Floats, live: npt.NDArray[np.bool_], now: float) -> float:
        """The share of what the shards want to write that the tables take: a flush waits for all
        of its items, so the tightest of the three decides."""
        asked, seconds = self._units(want, live), self.scenario.step_s
        writes, reads = (WARM_WRITES, TABLE_WRITES), (WARM_READS, TABLE_READS)
        tables = (
            (self.writes, asked.windows, writes), (self.roster, asked.devices, writes),
            (self.lookups, asked.reads, reads),
        )  # fmt: skip
        shares = []
        for table, units, names in tables:
            allowed = table.limit(now) * seconds
            taken = self.refusals.admit(names[table.binding(now)], units, allowed, now)
            shares.append(taken / units if units else 1.0)
        share = min(shares)
        self.scarce = Scarce(min(shares[:2]) == share < 1, shares[2] == share < 1)
        for table, units, _ in tables:
            table.spend(units * share, seconds, now)
        for name, units in zip(self.used, asked, strict=True):
            self.used[name] += units * share
        return share

    def _arrival_of_next(self) -> Floats:
        """When the oldest reading arrived that each shard has not served (s)."""
        done = self.served / self.weight
        last = self._step + 1
        first = np.searchsorted(self._arrived[:last], done.min(), side="right") - 1
        some = slice(max(0, int(first)), last)
        since: Floats = np.interp(done, self._arrived[some], self._times[some])
        return since

    def _busy(self, want: Floats, room: Floats, share: float) -> float:
        """Of the busiest process (%). One that waits for a table is at work."""
        if share < 1 - 1e-9:
            return 100.0
        return 100.0 * float((want / np.maximum(room, 1e-9)).max())

    def _watch(self, day: Day, reads: Floats, served: Floats, live: npt.NDArray[np.bool_]) -> None:
        seconds = self.scenario.step_s
        for number, steps in day.of_shards.items():
            unit = self.costs.live if live[number] else self.costs.behind
            done = float(served[number])
            written, looked_up = done * (unit.windows + unit.devices), done * unit.reads
            steps.append(
                ShardStep(
                    bool(reads[number]), done, float(self.lag[number]), written, looked_up,
                    written / seconds if self.scarce.writes else math.inf,
                    looked_up / seconds if self.scarce.reads else math.inf,
                )
            )  # fmt: skip

    def _overhead(self, day: Day, reads: Floats, now: float) -> None:
        if not self.scenario.workers_run(now):
            return
        orphans = int(self.scenario.shards - reads.sum())
        commits = float(reads.sum()) / SETTINGS.segment_age_s
        day.overheads.append(overhead(self.scenario, self.service.running, orphans, commits))

    def finish(self, day: Day) -> None:
        """What is known at the end of the day."""
        fleet, service = self.fleet, self.service
        day.readings = {
            "made": fleet.made,
            "on_devices": fleet.spooled + fleet.waiting,
            "in_the_stream": float(self._arrived[self._step] - self.served.sum()),
            "folded": float(self.served.sum()),
        }
        day.totals = {
            **self.used,
            "messages": fleet.messages,
            "connects": fleet.connects,
            "task_hours": service.task_hours,
            "leases_moved": float(service.moved),
        }


def _begins_a_minute(now: float, step_s: float) -> bool:
    """Whether the step that begins now is the first of a minute."""
    return now % 60 < step_s
