"""S1: a day of 1,000 shards and 1,000,000 devices, see :mod:`benchmarks.scale`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Progress, Result, none_of, result
from benchmarks.scale.bill import price
from benchmarks.scale.day import Costs, Day, hours
from benchmarks.scale.fleet import DAY, QUICK, Floats, Scenario, placement
from benchmarks.scale.ladder import EXISTS, Rung, asks, climb, outcome
from benchmarks.scale.quotas import QUOTAS, Account
from benchmarks.scale.real.costs import measured_costs
from benchmarks.scale.real.shard import ShardDay, replay
from benchmarks.scale.world import play

SERIES_S: Final = 600
"""One point of the plots of the day."""
POINTS: Final = 150
"""Points of the plot of a real shard, about."""
HELD_S: Final = 67.5
"""How long a minute's window waits in memory on average: until its end, and its share of a quarter
of a minute (:func:`consumers.hot.flush_queue.wait`)."""
CLOSE: Final = 0.05
CLOSE_SCARCE: Final = 0.15
"""How far the model may be from a real shard of a day, and from one whose tables are too small."""


class Play(NamedTuple):
    """Everything that a run found: the day by the hour, the rungs of the ladder, the day with all
    that was asked for, the same with an alarm that waits two minutes, and the real shards, each
    with the day that it is of."""

    day: Day
    rungs: Sequence[Rung]
    raised: Day
    patient: Day
    real: Sequence[tuple[Day, ShardDay]]


def run(progress: Progress) -> Result:
    """The whole day."""
    return as_result(whole(DAY, 600.0, progress))


def quick(progress: Progress) -> Result:
    """Four hours."""
    return as_result(whole(QUICK, 300.0, progress))


def whole(scenario: Scenario, scarce_s: float, progress: Progress) -> Play:
    """Measure what a reading costs, play the day, climb the ladder. Then play two shards with the
    real processor: one through the day with all that is asked for, one through the first
    ``scarce_s`` of the other, in which the tables are too small."""
    progress("the real processor's costs …")
    costs = measured_costs(scenario)
    progress("devices are placed …")
    shards = placement(scenario)
    one, other = typical(shards, scenario.shards)
    wanted = asks(scenario, costs)
    account = Account({name: wanted[name] for name in EXISTS})
    progress("the day by the hour …")
    day = play(scenario, account, costs, shards, [other])
    rungs, account = climb(scenario, costs, shards, progress)
    raised = play(scenario, account, costs, shards, [one])
    patient = play(scenario, account, costs, shards, patience=2)

    def members(number: int) -> list[int]:
        return [int(device) for device in np.flatnonzero(shards == number)]

    progress(f"shard {other} with the real processor, for {scarce_s / 60:.0f} minutes …")
    scarce = replay(day, other, members(other), scarce_s)
    progress(f"shard {one} with the real processor, for the day …")
    whole_day = replay(raised, one, members(one))
    return Play(day, rungs, raised, patient, [(raised, whole_day), (day, scarce)])


def typical(shards: npt.NDArray[np.int64], count: int) -> tuple[int, int]:
    """The shards with the median and with the greatest number of devices."""
    order = np.argsort(np.bincount(shards, minlength=count), kind="stable")
    return int(order[len(order) // 2]), int(order[-1])


class Agreement(NamedTuple):
    """Model and real shard beside each other: readings sent and durable, units written and read,
    greatest lag (s); and the mean distance between the two curves of what is not durable yet, in
    seconds of load."""

    shard: int
    devices: int
    hours: float
    sent: tuple[float, float]
    durable: tuple[float, float]
    writes: tuple[float, float]
    reads: tuple[float, float]
    lag_s: tuple[float, float]
    distance_s: float


def agreement(day: Day, real: ShardDay) -> Agreement:
    """Compare one real shard with the model of the same shard, for as long as it was played.

    The model counts a reading as durable when it is folded, the real shard when its window was
    written. So a part of a day is compared with the model that much earlier.
    """
    plan, count = day.scenario, len(real.durable)
    whole_day = count == plan.steps
    until = count if whole_day else max(0, count - round(HELD_S / plan.step_s))
    steps = day.of_shards[real.shard][:count]
    sent = day.column("readings")[:count].sum() * plan.step_s * real.devices / plan.devices
    durable = real.durable_at_end if whole_day else real.durable[-1]
    ours, theirs = unstored(day, real)
    return Agreement(
        real.shard,
        real.devices,
        count * plan.step_s / 3600,
        (float(sent), real.sent),
        (sum(step.served for step in steps[:until]), durable),
        (sum(step.written for step in steps[:until]), real.written[-1]),
        (sum(step.looked_up for step in steps), real.looked_up[-1]),
        (max(step.lag_s for step in steps), max(real.lag_s)),
        float(np.abs(ours - theirs).mean() / (real.devices / plan.every_s)),
    )


def unstored(day: Day, real: ShardDay) -> tuple[Floats, Floats]:
    """Readings in the stream or in a worker's memory by step: of the model, and of the real shard,
    without those that a healthy shard holds back until their window ends."""
    plan, count = day.scenario, len(real.durable)
    weight = real.devices / plan.devices
    arrived = np.cumsum(day.column("readings")[:count]) * plan.step_s * weight
    served = np.cumsum([step.served for step in day.of_shards[real.shard][:count]])
    held = np.asarray(real.sent_by, dtype=float) - np.asarray(real.durable, dtype=float)
    return arrived - served, np.maximum(0.0, held - HELD_S * real.devices / plan.every_s)


def as_result(found: Play) -> Result:
    """Checks of the model, tables, and the points of the plots."""
    compared = [agreement(day, real) for day, real in found.real]
    wrong = sum(abs(real.durable_at_end - real.sent + real.left) for _, real in found.real)
    checks = [none_of("real shards: readings lost or counted twice", wrong)]
    for one in compared:
        close = CLOSE if one.hours * 3600 >= found.day.scenario.day_s else CLOSE_SCARCE
        pairs = {
            "readings sent": one.sent, "readings durable": one.durable, "write units": one.writes,
        }  # fmt: skip
        if close == CLOSE:  # a real shard reads ahead of writes that wait, the model does not
            pairs["read units"] = one.reads
        for what, pair in pairs.items():
            name = f"shard {one.shard}, {one.hours:.2g} h, {what}: model against real"
            checks.append(_within(name, *pair, close))
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
        outcome=_outcome(found.day),
        raised=_outcome(found.raised),
        patient=_outcome(found.patient),
        ladder=[rung._asdict() for rung in found.rungs],
        asks=_asks(found),
        overhead=greatest,
        bill={line.line: line.usd for line in bill.lines},
        usd=bill.usd,
        agreement=[one._asdict() for one in compared],
        real=[_real(one) for _, one in found.real],
        series=_series(found),
    )


def _outcome(day: Day) -> dict[str, float]:
    lag_s, hours_behind, not_folded = outcome(day)
    return {
        "lag_s": lag_s, "hours_behind": hours_behind, "not_folded": not_folded,
        "task_hours": day.totals["task_hours"], "leases_moved": day.totals["leases_moved"],
        "usd": price(day).usd,
    }  # fmt: skip


def _within(what: str, model: float, real: float, close: float) -> Result:
    ratio = model / real if real else 1.0
    return {
        "what": what, "unit": "", "value": model, "baseline": real, "ratio": ratio,
        "target": f"within {close:.0%}", "met": abs(ratio - 1) <= close, "runs": 1, "spread": 0.0,
    }  # fmt: skip


def _scenario(plan: Scenario) -> dict[str, Any]:
    return {
        "devices": plan.devices, "shards": plan.shards, "every_s": plan.every_s,
        "hours": plan.day_s / 3600, "outage": plan.outage, "cut": plan.cut, "step_s": plan.step_s,
    }  # fmt: skip


def _costs(costs: Costs) -> dict[str, Any]:
    return {
        "live": costs.live._asdict(), "behind": costs.behind._asdict(),
        "read_us": costs.read_s * 1e6, "write_us": costs.write_s * 1e6, "pipeline": costs.pipeline,
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
        "writes": dict(one.writes), "reads": one.looked_up[-1], "refused": one.refused,
        "segments": one.segments, "again": one.again, "busy_s": one.busy_s,
        "greatest_lag_s": max(one.lag_s),
    }  # fmt: skip


def _series(found: Play) -> dict[str, list[float]]:
    day, each = found.day, round(SERIES_S / found.day.scenario.step_s)
    names = ("connected", "messages", "served", "write_units", "write_limit", "read_units",
             "read_limit", "tasks", "middle_lag_s")  # fmt: skip
    series = {name: _means(day.column(name), each) for name in names}
    for name, one in (("lag_s", day), ("raised_lag_s", found.raised)):
        lag = one.column("lag_s")
        series[name] = [float(part.max()) for part in np.split(lag, len(lag) // each)]
    for of_day, real in found.real:
        each = max(1, len(real.durable) // POINTS)
        for name, values in zip(("model", "real"), unstored(of_day, real), strict=True):
            series[f"{name}_{real.shard}"] = _means(values, each)
    return series


def _means(values: Floats, each: int) -> list[float]:
    rows = values[: len(values) // each * each].reshape(-1, each)
    return [round(float(value), 3) for value in rows.mean(1)]
