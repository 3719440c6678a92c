"""The oracle of silence and of groups: exact for what is right, not for any thing that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.scenario.alarms import deployment_rules
from ingest.tables.hot import window_name
from simulator.errors import ScenarioError
from simulator.scenario import load_scenario, parse
from simulator.verification.oracle import Rules, Sent
from simulator.verification.silences import (
    Silence,
    arrivals_of,
    compare_silences,
    silence_watch_of,
    silences,
    told_until,
)
from simulator.verification.transitions import Heard, Transition, groups_must_stand
from simulator.verification.watches import watch_of
from tests.harness.shard import NOW, TIERS

S = 1000
LIMIT = 20 * S
GONE = silence_watch_of({"name": "gone", "silent": "20s"})
RULES = Rules(TIERS, 600)
END = NOW + 1000 * S
Change = Callable[[list[Heard]], list[Heard]]


def event(device: str, at: int, kind: str, **changes: Any) -> dict[str, Any]:
    """What the bus carries of a silence that reached its limit at ``at`` (ms)."""
    return {
        "id": f"{device}{at}{kind}", "rule": "gone", "device": device, "kind": kind, "by": "",
        "window": at, "key": window_name("silent", at), "withdraws": "",
        "as_of": at + 10 * S, **changes,
    }  # fmt: skip


def arrivals(*seconds: float, delay_ms: int = 50) -> list[tuple[int, int]]:
    """A device that sends at these times (s from the start)."""
    times = [NOW + round(at * S) for at in seconds]
    return [(at + delay_ms, at) for at in times]


PUMP = arrivals(0, 5, 10, 300, 310)
DEVICES = {"pump": PUMP, "short": arrivals(0, 40, 990)}
FIRST, LAST = NOW + 10 * S + LIMIT, NOW + 310 * S + LIMIT
SHORT = NOW + 40 * S + LIMIT
RIGHT = [
    Heard(event("pump", FIRST, "raised"), FIRST + 35 * S),
    Heard(event("pump", FIRST, "cleared", window=NOW + 300 * S), NOW + 310 * S),
    Heard(event("pump", LAST, "raised"), LAST + 35 * S),
    Heard(event("short", SHORT, "raised"), SHORT + 35 * S),
    Heard(event("short", SHORT, "cleared", window=NOW + 990 * S), NOW + 995 * S),
]


def told(change: Change) -> Any:
    """The comparison after the events of the right answer were changed."""
    return compare_silences(change(list(RIGHT)), DEVICES, [GONE], END)


def test_a_device_is_silent_from_when_it_was_heard_last() -> None:
    found = list(silences(PUMP, LIMIT, END))
    assert found == [
        Silence(NOW + 10 * S + 50, NOW + 10 * S, NOW + 300 * S + 50),
        Silence(NOW + 310 * S + 50, NOW + 310 * S, None),
    ]
    assert list(silences([], LIMIT, END)) == []  # it never reported


def test_a_device_whose_clock_is_ahead_was_heard_when_it_says() -> None:
    ahead = [(NOW, NOW + 100 * S), (NOW + 110 * S, NOW + 210 * S)]
    assert [one.since for one in silences(ahead, LIMIT, NOW + 240 * S)] == [NOW + 210 * S]


def test_what_is_right_is_exact_also_when_it_comes_twice_or_is_withdrawn() -> None:
    wrong = event("pump", NOW + 99 * S, "raised", id="wrong")
    gone = event("pump", NOW + 99 * S, "withdrawn", id="gone", withdraws="wrong")
    result = told(lambda heard: [*heard, *heard, Heard(wrong, NOW), Heard(gone, NOW + S)])
    assert result.exact, result.differences
    assert (result.expected, result.repeated, result.withdrawn) == (4, 5, 1)


def test_a_silence_that_ends_within_a_minute_may_be_told_and_need_not_be() -> None:
    short = {"short": arrivals(0, 60, 65)}
    at = NOW + LIMIT
    both = [
        Heard(event("short", at, "raised"), at + 31 * S),
        Heard(event("short", at, "cleared", window=NOW + 60 * S), NOW + 65 * S),
    ]
    for heard in ([], both):
        assert compare_silences(heard, short, [GONE], NOW + 70 * S).exact
    assert not compare_silences(both[1:], short, [GONE], NOW + 70 * S).exact


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda heard: heard[1:], "missing"),
        (lambda heard: [heard[0], *heard[2:]], "missing"),
        (lambda heard: [*heard, Heard(event("pump", NOW, "raised"), NOW)], "extra"),
        (lambda heard: [*heard, Heard(event("pump", LAST, "cleared"), END)], "extra"),
        (lambda heard: [Heard({**heard[0].event, "as_of": FIRST - S}, heard[0].at), *heard[1:]],
         "extra"),
        (lambda heard: [Heard({**heard[0].event, "as_of": NOW + 301 * S}, heard[0].at), *heard[1:]],
         "extra"),
        (lambda heard: [*heard, Heard({**heard[0].event, "id": "other"}, NOW)], "twice"),
        (lambda heard: [*heard, Heard({**heard[0].event, "value": 7}, NOW)], "twice"),
        (lambda heard: [Heard(heard[0].event, FIRST + 61 * S), *heard[1:]], "late"),
        (lambda heard: [heard[0], Heard(heard[1].event, NOW + 361 * S), *heard[2:]], "late"),
    ],
)  # fmt: skip
def test_one_wrong_thing_is_noticed(change: Change, count: str) -> None:
    result = told(change)
    assert getattr(result, count) >= 1
    assert not result.exact
    assert result.differences


def test_it_waits_until_the_devices_that_have_stopped_must_be_told_of() -> None:
    assert told_until(DEVICES, [GONE]) == NOW + 990 * S + 50 + LIMIT + 60 * S
    assert told_until(DEVICES, [silence_watch_of({**ENTRY, "devices": "x-*"})]) == 0
    assert told_until(DEVICES, []) == 0


def test_a_reading_that_is_rejected_does_not_say_that_a_device_is_there() -> None:
    readings = [
        Sent("pump", "boot-one", 0, NOW, {"t": 1.0}, (NOW + 50, NOW + 70)),
        Sent("pump", "boot-one", 1, NOW + 900 * S, {"t": 1.0}, (NOW + 90,)),
    ]
    assert arrivals_of(readings, RULES) == {"pump": [(NOW + 50, NOW), (NOW + 70, NOW)]}


ENTRY = {"name": "gone", "silent": "1m", "severity": "critical"}


@pytest.mark.parametrize(
    "change", [{"silent": "soon"}, {"silent": "5"}, {"when": "n() > 1"}, {"group": "g"}]
)
def test_a_rule_of_silence_that_the_oracle_does_not_know_is_refused(change: Any) -> None:
    with pytest.raises(ScenarioError, match="rule gone"):
        silence_watch_of({**ENTRY, **change})


def test_a_rule_of_silence_means_the_same_to_a_deployment() -> None:
    scenario = parse(
        """
        name = "s"
        fleets = [{ name = "a", devices = 1, phases = [{ seconds = 1, rate = 1 }] }]
        [[rule]]
        name = "gone"
        silent = "10m"
        devices = ["*-sim-pumps-*", "x"]
        """
    )
    (rule,), (watch,) = deployment_rules(scenario), map(silence_watch_of, scenario.rule)
    assert (rule.name, rule.silent_s * 1000, rule.devices) == watch


def test_the_bad_day_watches_silence() -> None:
    assert any(rule.silent_s for rule in deployment_rules(load_scenario("bad-day")))


def group(*readings: tuple[str, int, float]) -> set[Transition]:
    """What must stand of a rule on a hall's devices, of (device, second, value)."""
    hot = watch_of({"name": "hot", "per": "group", "tier": "10s", "when": "mean(t) > 80"})
    sent = [
        Sent(device, "boot-one", second, NOW + second * S, {"t": value}, (NOW + second * S,))
        for device, second, value in readings
    ]
    return groups_must_stand(sent, RULES, [hot], {"a": "hall", "b": "hall", "c": "yard"})


def test_a_groups_windows_hold_the_readings_of_all_its_devices() -> None:
    assert group(("a", 1, 100.0), ("b", 1, 10.0)) == set()
    assert group(("a", 1, 100.0), ("b", 1, 90.0), ("b", 12, 10.0)) == {
        Transition("hot", "#group/hall", NOW, "raised"),
        Transition("hot", "#group/hall", NOW + 10 * S, "cleared"),
    }
    assert group(("c", 1, 100.0)) == {Transition("hot", "#group/yard", NOW, "raised")}
    assert group(("nobody", 1, 100.0)) == set()
