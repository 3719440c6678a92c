"""S1: a day of 1,000 shards and 1,000,000 devices, see :mod:`benchmarks.scale`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Progress, Result, none_of, result
from benchmarks.scale.bill import price
from benchmarks.scale.day import Costs, Day, Units, hours, play
from benchmarks.scale.fleet import DAY, QUICK, Floats, Scenario, placement
from benchmarks.scale.ladder import EXISTS, Rung, asks, climb, outcome
from benchmarks.scale.quotas import QUOTAS, Account
from benchmarks.scale.real_shard import ShardDay, catching_up, replay
from infra.cost.measured import measurements, writes_a_message
from infra.cost.workload import Workload

RECORDED: Final = Path(__file__).parents[1] / "results.json"
SERIES_S: Final = 300
"""One point of the plots."""
CLOSE: Final = 0.05
"""How far the model may be from the real shards."""


class Play(NamedTuple):
    """Everything that a run found: the day by the hour, the rungs of the ladder, the last day,
    which has all that was asked for, and the real shards."""

    day: Day
    rungs: Sequence[Rung]
    raised: Day
    real: Sequence[ShardDay]


def run(progress: Progress) -> Result:
    """The whole day, and two real shards."""
    return as_result(whole(DAY, 2, progress))


def quick(progress: Progress) -> Result:
    """Six hours, and one real shard."""
    return as_result(whole(QUICK, 1, progress))


def whole(scenario: Scenario, real: int, progress: Progress) -> Play:
    """Measure what a reading costs, play the day, climb the ladder, play so many real shards."""
    progress("the real processor catches up …")
    costs = measured_costs(scenario)
    progress("devices are placed …")
    shards = placement(scenario)
    chosen = typical(shards, scenario.shards, real)
    wanted = asks(scenario, costs)
    account = Account({name: wanted[name] for name in EXISTS})
    progress("the day by the hour …")
    day = play(scenario, account, costs, shards, chosen)
    rungs, raised = climb(scenario, costs, shards, progress)
    days = []
    for number in chosen:
        progress(f"shard {number} with the real processor …")
        days.append(replay(day, number, np.flatnonzero(shards == number).tolist()))
    return Play(day, rungs, raised, days)


def typical(shards: npt.NDArray[np.int64], count: int, wanted: int) -> list[int]:
    """Shards to play with the real processor: the one with the median number of devices, then the
    one with the most."""
    sizes = np.bincount(shards, minlength=count)
    order = np.argsort(sizes, kind="stable")
    return [int(order[len(order) // 2]), int(order[-1])][:wanted]


def measured_costs(scenario: Scenario) -> Costs:
    """What a reading costs: units in the steady state as ``penstock cost`` has them, units of a
    shard that catches up measured here, CPU time as recorded in ``results.json``."""
    writes = writes_a_message(measurements(), "standard", scenario.every_s)
    live = Units(sum(writes.windows.values()), writes.roster, writes.reads)
    backlog_s = scenario.outage[1] - scenario.outage[0]
    behind, pipeline = catching_up(scenario.devices // scenario.shards, backlog_s)
    load = Workload(devices=1, every_s=scenario.every_s, metrics=scenario.metrics)
    return Costs(
        live, behind, cpu_seconds(live.windows + live.devices), pipeline, load.record_bytes
    )


def cpu_seconds(items: float) -> float:
    """CPU a reading with so many item writes, one reading a message: the daemon (P7), the
    processor with its segment writer (P1), and the writes (P2)."""
    found = json.loads(RECORDED.read_text())
    daemon = found["P7"]["cpu_s"]["daemon"] / 400_000
    processor = next(
        one["whole"] for one in found["P1"]["points"] if one["readings_a_message"] == 1
    )
    return float(daemon + (processor + items * found["P2"]["value"]) * 1e-6)


class Agreement(NamedTuple):
    """Model and real shard beside each other: readings sent and durable, units written and read,
    and the mean distance between the two curves of what is not durable yet, in seconds of load."""

    shard: int
    devices: int
    sent: tuple[float, float]
    durable: tuple[float, float]
    writes: tuple[float, float]
    reads: tuple[float, float]
    lag_s: tuple[float, float]
    distance_s: float


def agreement(day: Day, real: ShardDay) -> Agreement:
    """Compare one real shard with the model of the same shard."""
    plan, weight = day.scenario, real.devices / day.scenario.devices
    steps = day.of_shards[real.shard]
    share = np.asarray([step.served for step in steps]).sum() / day.readings["folded"]
    ours, theirs = unstored(day, real)
    return Agreement(
        real.shard,
        real.devices,
        (weight * (day.readings["made"] - day.readings["on_devices"]), real.sent),
        (float(sum(step.served for step in steps)), real.durable_at_end),
        (
            float(share) * (day.totals["window_writes"] + day.totals["device_writes"]),
            real.writes.total(),
        ),
        (float(share) * day.totals["reads"], real.reads),
        (max(step.lag_s for step in steps), max(real.lag_s)),
        float(np.abs(ours - theirs).mean() / (real.devices / plan.every_s)),
    )


def unstored(day: Day, real: ShardDay) -> tuple[Floats, Floats]:
    """Readings in the stream or in a worker's memory by step: of the model, and of the real shard,
    without those that a healthy shard holds back until their window ends."""
    plan, weight = day.scenario, real.devices / day.scenario.devices
    arrived = np.cumsum(day.column("readings")) * plan.step_s * weight
    served = np.cumsum([step.served for step in day.of_shards[real.shard]])
    held = np.asarray(real.sent_by, dtype=float) - np.asarray(real.durable, dtype=float)
    healthy = 67.5 * real.devices / plan.every_s
    return arrived - served, np.maximum(0.0, held - healthy)


def as_result(found: Play) -> Result:
    """Checks of the model, tables, and the points of the plots."""
    compared = [agreement(found.day, real) for real in found.real]
    wrong = sum(abs(real.durable_at_end - real.sent + real.left) for real in found.real)
    checks = [none_of("real shards: readings lost or counted twice", wrong)]
    for one in compared:
        for what, pair in (
            ("readings sent", one.sent), ("readings durable", one.durable),
            ("write units", one.writes), ("read units", one.reads),
        ):  # fmt: skip
            checks.append(_within(f"shard {one.shard}, {what}: model against real", *pair))
    bill = price(found.day)
    greatest = {
        name: max((getattr(one, name) for one in found.day.overheads), default=0)
        for name in found.day.overheads[0]._fields
    }
    return result(
        "a day of 1,000 shards and 1,000,000 devices",
        checks,
        scenario=_scenario(found.day.scenario),
        costs=_costs(found.day.costs),
        hours=hours(found.day),
        readings=found.day.readings,
        totals=found.day.totals,
        outcome=dict(zip(("lag_s", "hours_behind", "not_folded"), outcome(found.day), strict=True)),
        raised=dict(
            zip(("lag_s", "hours_behind", "not_folded"), outcome(found.raised), strict=True)
        ),
        ladder=[rung._asdict() for rung in found.rungs],
        asks=_asks(found),
        overhead=greatest,
        bill={line.line: line.usd for line in bill.lines},
        usd=bill.usd,
        agreement=[one._asdict() for one in compared],
        real=[_real(one) for one in found.real],
        task_changes=list(found.day.task_changes),
        series=_series(found),
    )


def _within(what: str, model: float, real: float) -> Result:
    ratio = model / real if real else 1.0
    return {
        "what": what, "unit": "", "value": model, "baseline": real, "ratio": ratio,
        "target": f"within {CLOSE:.0%}", "met": abs(ratio - 1) <= CLOSE, "runs": 1, "spread": 0.0,
    }  # fmt: skip


def _scenario(plan: Scenario) -> dict[str, Any]:
    return {
        "devices": plan.devices, "shards": plan.shards, "every_s": plan.every_s,
        "hours": plan.day_s / 3600, "outage": plan.outage, "cut": plan.cut, "step_s": plan.step_s,
    }  # fmt: skip


def _costs(costs: Costs) -> dict[str, Any]:
    return {
        "live": costs.live._asdict(), "behind": costs.behind._asdict(),
        "cpu_us": costs.cpu_s * 1e6, "pipeline": costs.pipeline,
        "record_bytes": costs.record_bytes,
    }  # fmt: skip


def _asks(found: Play) -> list[dict[str, Any]]:
    wanted = asks(found.day.scenario, found.day.costs)
    return [
        {"name": name, **QUOTAS[name]._asdict(), "ask": wanted[name]}
        for name in QUOTAS
        if wanted.get(name, 0.0) > QUOTAS[name].default
    ]


def _real(one: ShardDay) -> dict[str, Any]:
    return {
        "shard": one.shard, "devices": one.devices, "sent": one.sent, "durable": one.durable_at_end,
        "left": one.left, "exact": one.exact, "processes": one.processes,
        "writes": dict(one.writes), "reads": one.reads, "refused": one.refused,
        "segments": one.segments, "busy_s": one.busy_s, "greatest_lag_s": max(one.lag_s),
    }  # fmt: skip


def _series(found: Play) -> dict[str, list[float]]:
    each = round(SERIES_S / found.day.scenario.step_s)

    def of(values: Floats, *, greatest: bool = False) -> list[float]:
        rows = values[: len(values) // each * each].reshape(-1, each)
        return [float(round(v, 3)) for v in (rows.max(1) if greatest else rows.mean(1))]

    day = found.day
    names = ("connected", "messages", "served", "write_units", "write_limit", "read_units",
             "read_limit", "tasks", "middle_lag_s")  # fmt: skip
    series = {name: of(day.column(name)) for name in names}
    series["lag_s"] = of(day.column("lag_s"), greatest=True)
    series["raised_lag_s"] = of(found.raised.column("lag_s"), greatest=True)
    for one in found.real:
        model, real = unstored(day, one)
        series[f"model_{one.shard}"], series[f"real_{one.shard}"] = of(model), of(real)
    return series
