"""What a reading costs, and what a played day found. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from benchmarks.scale.fleet import Floats, Scenario
from benchmarks.scale.quotas import Account, Refusals
from benchmarks.scale.service import Overhead


class Units(NamedTuple):
    """Units a reading: write units of the windows and of the devices table, and read units."""

    windows: float
    devices: float
    reads: float


@dataclass(frozen=True)
class Costs:
    """What the real processor was measured to cost. ``live`` and ``behind`` are units a reading in
    the steady state and when a shard catches up; ``read_s`` the CPU seconds to receive and fold a
    reading, the KCL's daemon included, ``write_s`` those to write an item; ``pipeline`` the
    readings a second that one process writes at most, by the latencies of DynamoDB;
    ``record_bytes`` a record's size."""

    live: Units
    behind: Units
    read_s: float
    write_s: float
    pipeline: float
    record_bytes: float

    @property
    def cpu_s(self) -> float:
        """CPU seconds a reading in the steady state."""
        return self.read_s + (self.live.windows + self.live.devices) * self.write_s


@dataclass
class Day:
    """What a play found, by step. Rates are a second; ``lag_s`` is the greatest of all shards,
    ``middle_lag_s`` the median. ``of_shards`` has the steps of single shards, by their number."""

    scenario: Scenario
    account: Account
    refusals: Refusals
    costs: Costs
    columns: dict[str, list[float]] = field(default_factory=dict)
    of_shards: dict[int, list[ShardStep]] = field(default_factory=dict)
    readings: dict[str, float] = field(default_factory=dict)
    overheads: list[Overhead] = field(default_factory=list)
    totals: dict[str, float] = field(default_factory=dict)
    connected_curve: list[float] = field(default_factory=list)

    def column(self, name: str) -> Floats:
        """One column as an array."""
        return np.asarray(self.columns[name])


class ShardStep(NamedTuple):
    """One shard in one step: whether it is read, readings served, its lag at the end (s), write and
    read units that it used, and those a second that the tables had for it; ``inf`` where they had
    enough for everybody."""

    reads: bool
    served: float
    lag_s: float
    written: float
    looked_up: float
    writes: float
    lookups: float


def hours(day: Day) -> list[dict[str, Any]]:
    """The day by hour: means of rates, the greatest lag, the most tasks."""
    a_step = day.scenario.step_s
    each = round(3600 / a_step)
    rows = []
    for hour in range(day.scenario.day_s // 3600):
        part = {
            name: np.asarray(values[hour * each : (hour + 1) * each])
            for name, values in day.columns.items()
        }
        rows.append(
            {
                "hour": hour,
                "connected": float(part["connected"][-1]),
                "messages": float(part["messages"].mean()),
                "readings": float(part["readings"].mean()),
                "folded": float(part["served"].mean()),
                "lag_s": float(part["lag_s"].max()),
                "write_units": float(part["write_units"].mean()),
                "most_write_units": float(part["write_units"].max()),
                "limited_min": float((part["granted"] < 1 - 1e-9).sum() * a_step / 60),
                "tasks": int(part["tasks"].max()),
                "read_shards": int(part["read_shards"].min()),
            }
        )
    return rows
