"""The oracle of alarms: exact for what is right, and not for any single thing that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from infra.prove.report.invariants import exact, invariants
from infra.scenario.alarms import deployment_rules
from simulator.errors import ScenarioError
from simulator.load.sensor import Sensor
from simulator.scenario import parse
from simulator.verification import oracle
from simulator.verification.oracle import Sent
from simulator.verification.transitions import Heard, Transition, compare, must_stand
from simulator.verification.watches import watch_of
from tests.harness.shard import NOW, TIERS
from tests.unit.test_prove_report import FOUND, LOAD

HOT = watch_of({"name": "hot", "tier": "10s", "when": "mean(t) > 80", "clear": "mean(t) < 70"})
PEAK = watch_of({"name": "peak", "tier": "10s", "when": "max(t) > 80"})
S = 1000
ACCOUNT: dict[str, Any] = {"kinds": ["thing"], "denied": [], "left": []}


def sent(*values: float, delay_ms: int = 50) -> list[Sent]:
    """A reading in each of some windows of 10 s that follow each other."""
    return [
        Sent("pump", "boot-one", n, at, {"t": value}, (at + delay_ms,))
        for n, value in enumerate(values)
        for at in [NOW + n * 10 * S]
    ]


def standing(readings: list[Sent], *watches: Any) -> set[Transition]:
    windows = oracle.windows(readings, oracle.Rules(TIERS, 600))
    return must_stand(windows, watches, TIERS)


def event(one: Transition, **changes: Any) -> dict[str, Any]:
    """The transition as the bus carries it."""
    return {
        "id": f"{one.rule}{one.window}{one.kind}", **one._asdict(), "withdraws": "", "by": "",
        **changes,
    }  # fmt: skip


RIGHT = sent(50, 90, 75, 60, 90)


def told(change: Any) -> Any:
    """The comparison after the events of the right answer were changed."""
    wanted = standing(RIGHT, HOT, PEAK)
    heard = [Heard(event(one), one.window + 20 * S) for one in sorted(wanted)]
    return compare(change(heard), wanted, RIGHT, [HOT, PEAK], TIERS)


def test_a_window_that_is_finished_decides_and_the_newest_only_if_it_cannot_change() -> None:
    found = {(one.rule, (one.window - NOW) // 10_000, one.kind)
             for one in standing(RIGHT, HOT, PEAK)}  # fmt: skip
    assert found == {
        ("hot", 1, "raised"), ("hot", 3, "cleared"),
        ("peak", 1, "raised"), ("peak", 2, "cleared"), ("peak", 4, "raised"),
    }  # fmt: skip


def test_a_window_is_decided_by_the_version_of_a_rule_that_began_before_its_end() -> None:
    lower = watch_of({"name": "peak", "tier": "10s", "when": "max(t) > 70"})
    changed = lower._replace(since=NOW + 25 * S)
    found = {(one.window - NOW) // 10_000: one.kind for one in standing(RIGHT, PEAK, changed)}
    assert found == {1: "raised", 3: "cleared", 4: "raised"}  # 75 in window 2 is above 70


def test_what_is_right_is_exact_also_when_it_comes_twice_or_is_withdrawn() -> None:
    def repeated(heard: list[Heard]) -> list[Heard]:
        wrong = event(Transition("hot", "pump", NOW, "raised"), id="wrong")
        gone = event(Transition("hot", "pump", NOW, "withdrawn"), id="gone", withdraws="wrong")
        return [*heard, *heard, Heard(wrong, NOW), Heard(gone, NOW + S)]

    result = told(repeated)
    assert result.exact, result.differences
    assert (result.expected, result.repeated, result.withdrawn) == (5, 5, 1)


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda heard: heard[1:], "missing"),
        (lambda heard: [*heard, Heard(event(Transition("hot", "pump", NOW, "raised")), NOW)],
         "extra"),
        (lambda heard: [*heard, Heard({**heard[0].event, "id": "other"}, NOW)], "twice"),
        (lambda heard: [*heard, Heard({**heard[0].event, "value": 7}, NOW)], "twice"),
        (lambda heard: [Heard(heard[0].event, heard[0].at + 100 * S), *heard[1:]], "late"),
    ],
)  # fmt: skip
def test_one_wrong_thing_is_noticed(change: Any, count: str) -> None:
    result = told(change)
    assert getattr(result, count) >= 1
    assert not result.exact
    assert result.differences


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "x"},
        {"name": "x", "when": "max(t) >> 1"},
        {"name": "x", "when": "completeness() < 0.9"},
        {"name": "x", "when": "max(t) > 1", "group": "g"},
        {"name": "x", "when": "max(t) > 1", "for": "two"},
    ],
)
def test_a_rule_that_the_oracle_does_not_know_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match="rule x"):
        watch_of(entry)


def test_a_wrong_rule_is_named_with_its_scenario() -> None:
    with pytest.raises(ScenarioError, match="my-plant: rule x"):
        parse(
            'name = "s"\n[[fleets]]\nname = "a"\ndevices = 1\n'
            'phases = [{ seconds = 1, rate = 1 }]\n[[rule]]\nname = "x"\n',
            "my-plant",
        )


def test_the_rules_of_a_scenario_mean_the_same_to_a_deployment() -> None:
    scenario = parse(
        """
        name = "s"
        fleets = [{ name = "a", devices = 1, phases = [{ seconds = 1, rate = 1 }] }]
        [[rule]]
        name = "stuck"
        devices = ["*-sim-meters-*", "x"]
        tier = "10s"
        when = "stddev(power) < 0.01 and n() > 3"
        clear = "stddev(power) > 1"
        for = 2
        [[rule]]
        name = "hot"
        when = "max(temperature) > 45 or min(pressure) < -1.5"
        for = "1 of 2"
        clear_for = 2
        severity = "critical"
        summary = "{device} is at {value} °C"
        """
    )
    for rule, watch in zip(deployment_rules(scenario), map(watch_of, scenario.rule), strict=True):
        assert (rule.name, rule.tier, rule.windows, rule.of, rule.clear_windows) == (
            watch.name, watch.tier, watch.needed, watch.of, watch.clear_needed)  # fmt: skip
        assert rule.raise_when.is_final_once_true == watch.raises_early
        assert rule.devices == watch.devices


def test_a_sensor_sticks_drifts_and_is_right_again() -> None:
    sensor = Sensor(lambda ts: {"t": float(ts % 10), "u": 1.0})

    def taken(at: int) -> Any:
        return sensor.take(at, 1)[0][1]["t"]

    sensor.stick("t")
    assert [taken(11), taken(12), taken(13)] == [1.0, 1.0, 1.0]
    sensor.mend("t")
    assert taken(14) == 4.0
    sensor.drift("t", 10.0, seconds=0.02)
    assert [taken(20), taken(30), taken(40), taken(60)] == [0.0, 5.0, 10.0, 10.0]
    sensor.mend("t")
    assert taken(70) == 0.0


def test_a_proof_tells_of_transitions_when_it_had_rules() -> None:
    def row(alarms: Any) -> dict[str, Any]:
        rows = invariants(LOAD, {**FOUND, "alarms": alarms}, ACCOUNT)
        assert exact(rows) == (alarms is None or alarms["verdict"] == "exact")
        return next(one for one in rows if one["id"] == "T")

    right = told(lambda heard: heard).as_dict()
    assert row(None)["held"] is None
    assert row(right)["held"] is True
    assert row(right)["figures"]["expected"] == 5
    assert row(told(lambda heard: heard[1:]).as_dict())["held"] is False
