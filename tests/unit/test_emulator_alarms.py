"""The embedded CloudWatch: an alarm's state from values, and metrics out of log lines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.emulator.limits.alarms import periods, state
from infra.emulator.limits.emf import metrics_of


def alarm(**changes: Any) -> dict[str, Any]:
    return {
        "Period": 60,
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 10.0,
        "StateValue": "OK",
        **changes,
    }


@pytest.mark.parametrize(
    ("values", "treatment", "expected"),
    [
        ([11, 1, 11], "missing", "ALARM"),
        ([11, 1, 10], "missing", "OK"),
        ([None, None, None], "missing", "INSUFFICIENT_DATA"),
        ([None, None, None], "notBreaching", "OK"),
        ([None, None, None], "breaching", "ALARM"),
        ([None, None, 1], "breaching", "ALARM"),
        ([None, 1, 1], "breaching", "OK"),
        ([None, 11, 11], "notBreaching", "ALARM"),
        ([None, 11, 11], "ignore", "OK"),
    ],
)
def test_an_alarm_counts_breaching_periods_and_treats_missing_ones_as_it_says(
    values: list[float | None], treatment: str, expected: str
) -> None:
    assert state(alarm(TreatMissingData=treatment), values) == expected


def test_without_datapoints_to_alarm_every_period_has_to_breach() -> None:
    strict = alarm()
    del strict["DatapointsToAlarm"]
    assert state(strict, [11, 11, 9]) == "OK"
    assert state(strict, [11, 11, 11]) == "ALARM"


def test_only_periods_that_are_over_are_looked_at() -> None:
    assert periods(alarm(), 239.0) == [(0.0, 60.0), (60.0, 120.0), (120.0, 180.0)]


def document(**changes: Any) -> dict[str, Any]:
    directive = {
        "Namespace": "N",
        "Dimensions": [["Stack"], []],
        "Metrics": [{"Name": "Lag", "Unit": "Seconds"}],
    }
    metadata = {"Timestamp": 5_000, "CloudWatchMetrics": [directive]}
    return {"_aws": metadata, "Stack": "s", "Lag": 3, **changes}


def test_each_set_of_dimensions_makes_a_metric_of_its_own() -> None:
    found = metrics_of(json.dumps(document(Lag=[1, 2.5])))
    assert [(one.name, one.dimensions, one.values, one.at, one.unit) for one in found] == [
        ("Lag", {"Stack": "s"}, (1.0, 2.5), 5.0, "Seconds"),
        ("Lag", {}, (1.0, 2.5), 5.0, "Seconds"),
    ]


@pytest.mark.parametrize(
    "changes", [{"Lag": "3"}, {"Lag": True}, {"Lag": []}, {"Stack": 3}, {"_aws": {}}]
)
def test_a_line_that_is_not_valid_makes_no_metric(changes: dict[str, Any]) -> None:
    assert metrics_of(json.dumps(document(**changes))) == []


def test_a_directive_that_names_what_is_not_there_makes_no_metric_and_leaves_the_others() -> None:
    line = document()
    wrong = {"Namespace": "N", "Dimensions": [["Worker"]], "Metrics": [{"Name": "Lag"}]}
    line["_aws"]["CloudWatchMetrics"].insert(0, wrong)
    assert len(metrics_of(json.dumps(line))) == 2
