"""A day of a service that scales: lag and tasks over time, when the load becomes eight times as
much at once and decays slowly. Deterministic, without processes and without AWS; the rule is that
of ``infra/templates/service.yaml`` (a test compares them).

``python -m benchmarks.scaling`` draws docs/images/scaling.svg and prints the figures.

What is assumed: shards carry equal load; a task shares its capacity among its shards, so the task
with the most shards is the slowest; a new task works after ``start_s``, and leases move then.
Sources: Application Auto Scaling user guide, "Step scaling policies" (rounding, cooldown) and
CloudWatch user guide, "Evaluating an alarm".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

DAY_S: Final = 86_400
IMAGE: Final = Path(__file__).parents[1] / "docs" / "images" / "scaling.svg"


class Step(NamedTuple):
    """From this metric value above the threshold on, so many percent more tasks."""

    above: float
    percent: float


@dataclass(frozen=True)
class Rule:
    """When the number of tasks changes. Times in s, ``busy`` in percent."""

    least: int = 2
    most: int = 10
    lag_s: float = 15.0
    steps: tuple[Step, ...] = (Step(0, 100), Step(45, 200))
    out_cooldown_s: int = 120
    busy: float = 40.0
    quiet_minutes: int = 15
    in_cooldown_s: int = 300

    def out(self, tasks: int, lag_s: float) -> int:
        """How many tasks there should be at this lag; no fewer than now.

        >>> Rule().out(2, 10.0), Rule().out(2, 20.0), Rule().out(2, 90.0), Rule().out(6, 20.0)
        (2, 4, 6, 10)
        """
        above = lag_s - self.lag_s
        if above < 0:
            return tasks
        percent = [step.percent for step in self.steps if above >= step.above][-1]
        return min(self.most, tasks + max(1, math.floor(tasks * percent / 100)))


@dataclass(frozen=True)
class World:
    """What is scaled: shards, records a second that a task takes, and how long a start takes."""

    shards: int = 32
    task_rate: float = 2_000.0
    start_s: int = 75


class Minute(NamedTuple):
    """One minute: its load (records/s), greatest lag (s), tasks wanted, and busiest share (%)."""

    load: float
    lag_s: float
    tasks: int
    busy: float


def spike(second: int) -> float:
    """1,600 records/s; eight times as many from 10:00 on, half of what is more after each hour."""
    base, begins = 1_600.0, 10 * 3_600
    if second < begins:
        return base
    return float(base * (1 + 7 * 0.5 ** ((second - begins) / 3_600)))


def day(
    load: Callable[[int], float] = spike, rule: Rule | None = None, world: World | None = None
) -> list[Minute]:
    """Every minute of a day."""
    rule, world = rule or Rule(), world or World()
    minutes: list[Minute] = []
    wanted = rule.least
    starting: list[tuple[int, int]] = []  # when a number of tasks will be at work
    working = wanted
    arrived, served = [0.0], 0.0
    oldest = 0  # the second in which the oldest waiting record arrived
    out_at = in_at = -DAY_S
    quiet = 0
    greatest = busiest = 0.0
    for second in range(DAY_S):
        if starting and starting[0][0] <= second:
            working = starting.pop(0)[1]
        arrived.append(arrived[-1] + load(second))
        capacity = _capacity(world, working)
        done = min(arrived[-1], served + capacity)
        busiest = max(busiest, 100 * (done - served) / capacity)
        served = done
        while oldest < second and arrived[oldest + 1] <= served:
            oldest += 1
        greatest = max(greatest, second - oldest if served < arrived[-1] else 0)
        if second % 60 != 59:
            continue
        minutes.append(Minute(load(second), greatest, wanted, busiest))
        quiet = quiet + 1 if busiest < rule.busy else 0
        if second - out_at >= rule.out_cooldown_s and rule.out(wanted, greatest) > wanted:
            wanted, out_at = rule.out(wanted, greatest), second
            starting.append((second + world.start_s, wanted))
        elif (
            quiet >= rule.quiet_minutes
            and wanted > rule.least
            and second - in_at >= rule.in_cooldown_s
        ):
            wanted, in_at = wanted - 1, second
            starting, working = [], wanted  # it commits, and its leases move at once
        greatest = busiest = 0.0
    return minutes


def _capacity(world: World, tasks: int) -> float:
    """Records a second of all shards, when the slowest task sets the pace."""
    most_shards = math.ceil(world.shards / min(tasks, world.shards))
    return world.task_rate * world.shards / most_shards


class Figures(NamedTuple):
    """What a day comes to: greatest lag (s), minutes with a lag of 15 s and more, most tasks, and
    task-hours."""

    greatest_lag_s: float
    minutes_behind: int
    most_tasks: int
    task_hours: float


def figures(minutes: list[Minute], rule: Rule | None = None) -> Figures:
    """The figures of a day."""
    behind = (rule or Rule()).lag_s
    return Figures(
        max(minute.lag_s for minute in minutes),
        sum(minute.lag_s >= behind for minute in minutes),
        max(minute.tasks for minute in minutes),
        round(sum(minute.tasks for minute in minutes) / 60, 1),
    )


def draw(minutes: list[Minute], image: Path) -> None:
    """The day as an SVG: load, tasks and greatest lag, one below the other. The same day gives the
    same bytes."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "penstock"
    from matplotlib import pyplot as plt  # after its backend is chosen

    hours = [(i + 1) / 60 for i in range(len(minutes))]
    rows: dict[str, list[float]] = {
        "records a second": [minute.load for minute in minutes],
        "tasks": [float(minute.tasks) for minute in minutes],
        "greatest lag (s)": [minute.lag_s for minute in minutes],
    }
    figure, axes = plt.subplots(len(rows), figsize=(7, 5.4), sharex=True)
    for (label, values), axis in zip(rows.items(), axes, strict=True):
        axis.step(hours, values, where="post", color="C0")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.yaxis.get_major_locator().set_params(integer=True)
    axes[-1].set_xlabel("hour of the day")
    axes[-1].set_xticks(range(0, 25, 3))
    figure.tight_layout()
    figure.savefig(image, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Draw the plot and print the figures."""
    minutes = day()
    draw(minutes, IMAGE)
    print(figures(minutes))


if __name__ == "__main__":
    main()
