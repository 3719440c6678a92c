"""The scaling rule of the service: the simulation has the template's, and a day stays bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

from benchmarks.scaling import IMAGE, Figures, Rule, Step, World, day, draw, figures, spike

ROOT = Path(__file__).parents[2]
TEMPLATE: Any = decode(ROOT / "infra" / "templates" / "service.yaml")[0]


def properties(name: str) -> Any:
    return TEMPLATE["Resources"][name]["Properties"]


def test_the_simulated_rule_is_the_one_of_the_template() -> None:
    out, into = (
        properties(name)["StepScalingPolicyConfiguration"] for name in ("ScaleOut", "ScaleIn")
    )
    lag, busy = properties("ScaleOutAlarm"), properties("ScaleInAlarm")
    steps = [
        Step(one["MetricIntervalLowerBound"], one["ScalingAdjustment"])
        for one in out["StepAdjustments"]
    ]
    assert (lag["MetricName"], lag["Period"], lag["EvaluationPeriods"]) == ("Lag", 60, 1)
    assert (busy["MetricName"], busy["Period"]) == ("BusyShare", 60)
    assert [one["ScalingAdjustment"] for one in into["StepAdjustments"]] == [-1]
    assert Rule() == Rule(
        least=TEMPLATE["Parameters"]["MinTasks"]["Default"],
        most=TEMPLATE["Parameters"]["MaxTasks"]["Default"],
        lag_s=lag["Threshold"],
        steps=tuple(steps),
        out_cooldown_s=out["Cooldown"],
        busy=busy["Threshold"],
        quiet_minutes=busy["EvaluationPeriods"],
        in_cooldown_s=into["Cooldown"],
    )


def test_a_day_with_a_spike_is_as_the_docs_say() -> None:
    found = figures(day())
    assert found == Figures(135, 11, 10, 66.6)
    text = (ROOT / "docs" / "aws.md").read_text()
    for figure in ("135 s", "11 minutes", "66.6 task-hours"):
        assert figure in text.replace("\n  ", " ")


def test_the_lag_returns_to_zero_and_the_tasks_to_the_least() -> None:
    minutes = day()
    assert minutes[-1].lag_s == 0
    assert minutes[-1].tasks == Rule().least
    behind = [i for i, minute in enumerate(minutes) if minute.lag_s >= Rule().lag_s]
    assert behind == list(range(behind[0], behind[-1] + 1)), "it is behind once"


def test_a_steady_load_changes_nothing() -> None:
    minutes = day(lambda _: 1_600.0)
    assert {minute.tasks for minute in minutes} == {Rule().least}
    assert max(minute.lag_s for minute in minutes) == 0


def test_without_scaling_the_same_day_is_behind_for_hours() -> None:
    fixed = figures(day(rule=Rule(most=2)))
    assert fixed.minutes_behind > 300


@pytest.mark.parametrize("tasks", [2, 10])
def test_more_tasks_than_shards_are_of_no_use(tasks: int) -> None:
    one = figures(day(spike, Rule(least=1, most=1), World(shards=1)))
    many = figures(day(spike, Rule(least=tasks, most=tasks), World(shards=1)))
    assert one.greatest_lag_s == many.greatest_lag_s


def test_the_plot_of_the_docs_is_the_one_of_this_rule(tmp_path: Path) -> None:
    draw(day(), tmp_path / "again.svg")
    drawn = (tmp_path / "again.svg").read_text()
    assert len(drawn) == pytest.approx(len(IMAGE.read_text()), rel=0.02)
    assert "<path" in drawn
