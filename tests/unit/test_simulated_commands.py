"""Commands in a scenario: which are sent, how devices obey, and what is no exact result."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from ingest.tiers import LOCAL_TIERS
from simulator.errors import ScenarioError
from simulator.load.commander import Commander, Order, orders_of
from simulator.scenario import load_scenario, parse
from simulator.verification.commands import LATE_MS, compare
from simulator.verification.ledger import (
    Commanded,
    Effect,
    Ledger,
    Meta,
    read_commanded,
    read_effects,
)
from tests.harness.shadow import Shadows

NOW = 1_795_420_800_000
TEXT = """
name = "valves"
[[fleets]]
name = "valves"
devices = 3
phases = [{ seconds = 100, rate = 1 }]
commands = { each = 4, again = 0.5, expires_s = [5, 20], work_s = 2 }
"""
NAMES = ["valve-1", "valve-2", "valve-3"]


def new_ledger(path: Path) -> Ledger:
    return Ledger(path, Meta("run", 1, "plant", NOW, LOCAL_TIERS, 60), lambda: NOW)


def command(status: str = "SUCCEEDED", *, final: bool = True, times: int = 1) -> Commanded:
    return Commanded("command-1", "valve-1", NOW, times, status, final)


def test_orders_follow_from_the_seed_and_stay_within_what_the_scenario_says() -> None:
    fleet = parse(TEXT).fleets[0]
    orders = orders_of(fleet, NAMES, 7)
    assert orders == orders_of(fleet, NAMES, 7) != orders_of(fleet, NAMES, 8)
    assert len(orders) == len({one.id for one in orders}) == 12
    for one in orders:
        assert 0 < one.at < 100
        assert 5 <= one.expires_s <= 20
        assert 0 <= one.work_ms <= 2000
        assert all(again >= one.at for again in one.again)
    assert 0 < sum(len(one.again) for one in orders) < 36


def test_a_fleet_without_commands_gets_none_and_a_wrong_range_is_an_error() -> None:
    assert orders_of(load_scenario("day").fleets[0], NAMES, 1) == []
    with pytest.raises(ScenarioError, match="no range"):
        parse(TEXT.replace("[5, 20]", "[20, 5]"))
    with pytest.raises(ScenarioError, match="each"):
        parse(TEXT.replace("each = 4", "each = 9"))


@pytest.mark.parametrize(
    ("said", "effects", "fault"),
    [
        (command(), [Effect(NOW, "valve-1", "command-1")], None),
        (command(), [Effect(NOW + LATE_MS, "valve-1", "command-1")], None),
        (command("FAILED"), [Effect(NOW, "valve-1", "command-1")], None),
        (command("FAILED"), [], None),
        (command("TIMED_OUT"), [], None),
        (command("TIMED_OUT", final=False), [Effect(NOW, "valve-1", "command-1")], None),
        (command("CREATED", final=False), [], None),
        (command(), [Effect(NOW, "valve-1", "command-1")] * 2, "twice"),
        (command("FAILED"), [Effect(NOW, "valve-1", "command-1")] * 2, "twice"),
        (command(), [], "missing"),
        (command("TIMED_OUT"), [Effect(NOW, "valve-1", "command-1")], "extra"),
        (command("REJECTED"), [Effect(NOW, "valve-1", "command-1")], "extra"),
        (command(), [Effect(NOW + LATE_MS + 1, "valve-1", "command-1")], "late"),
        (command(), [Effect(NOW, "valve-2", "command-1")], "astray"),
        (command("FAILED"), [Effect(NOW, "valve-1", "command-2")], "extra"),
    ],
)
def test_what_is_said_of_a_command_is_what_its_device_did(
    said: Commanded, effects: list[Effect], fault: str | None
) -> None:
    report = compare([said], effects)
    faults = ("twice", "missing", "extra", "late", "astray")
    found = {name for name in faults if getattr(report, name)}
    assert found == ({fault} if fault else set())
    assert report.exact == (fault is None) == (not report.differences)
    assert (report.sent, report.effects) == (1, len(effects))


def test_a_commander_sends_again_what_it_has_sent_and_writes_down_how_it_stands(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger"
    new_ledger(path).close()
    shadows = Shadows(NOW)
    order = Order(0.0, "valve-1", "command-1", 60.0, 5, (0.0, 0.0))
    commander = Commander(shadows, [order], path)
    for _ in range(3):
        commander._send(order)
    assert shadows.updates == 3
    desired = shadows.shadow("valve-1").state["desired"]["commands"]
    assert desired["command-1"]["args"] == {"work_ms": 5}
    commander.settle(lambda: NOW)
    ((id_, device, _, times, status, final),) = read_commanded(path)
    assert (id_, device, times, status, final) == ("command-1", "valve-1", 3, "CREATED", False)


def test_a_refusal_is_raised_when_the_scenario_is_over(tmp_path: Path) -> None:
    asked = threading.Event()

    class Refusing(Shadows):
        def get_thing_shadow(self, **_: Any) -> Any:
            asked.set()
            raise OSError("no route")

    commander = Commander(Refusing(), [Order(0.0, "valve-1", "a" * 8, 60, 5, ())], tmp_path / "l")
    with pytest.raises(OSError, match="no route"), commander.sending():
        assert asked.wait(10)


def test_a_ledger_of_an_earlier_version_has_no_commands(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with new_ledger(path) as ledger:
        ledger.effect("valve-1", "command-1")
    assert read_effects(path) == [Effect(NOW, "valve-1", "command-1")]
    db = sqlite3.connect(path)
    db.execute("DROP TABLE command")
    db.execute("DROP TABLE effect")
    db.close()
    assert (read_commanded(path), read_effects(path)) == ([], [])
