"""Scenarios as values: what a file may say, what is planned, what is counted, what is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.scenario.play import fleet_names, spool_counts
from infra.scenario.report import report_page, worker_lines
from ingest.histogram import Histogram
from simulator import scenario
from simulator.errors import ScenarioError
from simulator.load.director import FleetProgress
from simulator.load.fleet import Status
from simulator.load.replay import Replay
from simulator.report_page import Plot, Series, nice, page
from simulator.rescale import at_speed, thinned
from simulator.scenario import Scenario, load_scenario, names, parse, plan
from simulator.verification.ledger import OK, Entry

SMALL = """
name = "small"
[[fleets]]
name = "a"
devices = 4
phases = [{ seconds = 10, rate = 2 }]
"""


@pytest.mark.parametrize("name", names())
def test_a_scenario_that_comes_along_can_be_played(name: str) -> None:
    found = load_scenario(name)
    assert found.about
    assert at_speed(found).seconds <= 180


def test_a_bad_day_has_every_fault() -> None:
    found = load_scenario("bad-day")
    assert (found.devices, found.seconds, at_speed(found).seconds) == (200, 600, 120)
    quiet = msgspec.to_builtins(scenario.Faults())
    faulty = [msgspec.to_builtins(fleet.faults) for fleet in found.fleets]
    for kind, value in quiet.items():
        if kind not in ("held_s", "down_s"):
            assert any(one[kind] != value for one in faulty), kind


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("rate = 2", "rate = -2"), r"fleets.*phases.*rate"),
        (("rate = 2", "rate = 0"), "never sends"),
        (("devices = 4", "devices = 0"), "devices"),
        (("devices = 4", "devises = 4"), "devises"),
        (("devices = 4", 'devices = 4\ntype = "toaster"'), "toaster.*thermostat"),
        (("phases = [", "phases = [ 7,"), "phases"),
        (("[[fleets]]", "[fleets"), "small.toml"),
        (("devices = 4", "devices = 4\nfaults = { clock_skew_s = [5, 1] }"), "no range"),
        (("devices = 4", "devices = 4\nfaults = { duplicates = 2 }"), "duplicates"),
    ],
)
def test_a_mistake_in_a_file_is_said_with_its_place(change: tuple[str, str], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        parse(SMALL.replace(*change), "small.toml")


def test_two_fleets_of_one_name_are_refused() -> None:
    with pytest.raises(ScenarioError, match="same name"):
        parse(SMALL + SMALL.split("\n", 2)[2])


def test_a_scenario_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ScenarioError, match="bad-day"):
        load_scenario("good-day")


def test_rates_follow_the_phases() -> None:
    fleet = parse(
        SMALL.replace(
            "phases = [{ seconds = 10, rate = 2 }]",
            'phases = [{ kind = "ramp", seconds = 10, rate = 4 }, { seconds = 10, rate = 4 }, '
            '{ kind = "spike", seconds = 10, rate = 10, name = "rush" }, '
            '{ kind = "soak", seconds = 10, rate = 1 }]',
        )
    ).fleets[0]
    assert [fleet.rate(at) for at in (0, 5, 15, 20, 25, 30, 39, 40)] == [0, 2, 4, 4, 10, 1, 1, 0]
    assert [fleet.phase(at) for at in (1, 25, 41)] == ["ramp 1", "rush", "drain"]


def test_twice_the_speed_is_the_same_in_half_the_time() -> None:
    usual, fast = (at_speed(load_scenario("bad-day"), speed) for speed in (1, 2))
    for one, other in zip(usual.fleets, fast.fleets, strict=True):
        assert other.seconds == pytest.approx(one.seconds / 2)
        assert other.rate(70) == pytest.approx(2 * one.rate(140))
        assert len(plan(other, 1)) == len(plan(one, 1))


def test_a_thinner_scenario_keeps_every_fleet() -> None:
    assert [fleet.devices for fleet in thinned(load_scenario("bad-day"), 4).fleets] == [2, 1, 1]


def test_the_plan_is_the_seed_s_and_lies_within_the_run() -> None:
    fleet = at_speed(load_scenario("bad-day")).fleets[0]
    assert plan(fleet, 3) == plan(fleet, 3) != plan(fleet, 4)
    events = plan(fleet, 3)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert all(0 < event.at < fleet.seconds for event in events)
    kinds = [event.kind for event in events]
    assert (kinds.count("power_cut"), kinds.count("storm")) == (3, 2)
    assert {"offline", "clock_jump"} < set(kinds)


def test_names_of_two_runs_differ_and_are_device_ids() -> None:
    found = load_scenario("bad-day")
    first, second = fleet_names(found, "penstock"), fleet_names(found, "penstock")
    assert not set(first["pumps"]) & set(second["pumps"])
    assert all(name.replace("-", "").isalnum() for names in first.values() for name in names)


# -- what is counted ----------------------------------------------------------------------------


def _entry(seq: int, readings: int, acked: bool) -> Entry:
    return Entry(1, "d", "b", seq, readings, b"", OK, 0, 1 if acked else None)


def _run(numbered: int, waiting: int = 0, dropped: int = 0) -> FleetProgress:
    run = FleetProgress(parse(SMALL).fleets[0])
    run.over.numbers = {"d": ("b", numbered)}
    run.status = Status(waiting=waiting, dropped=dropped)
    return run


@pytest.mark.parametrize(
    ("numbered", "entries", "state", "lost"),
    [
        (5, [_entry(0, 5, True)], {}, 0),
        (5, [_entry(0, 3, True), _entry(2, 3, True)], {}, 0),
        (5, [_entry(0, 3, True)], {}, 2),
        (5, [_entry(0, 3, True), _entry(3, 2, False)], {}, 2),
        (5, [_entry(0, 3, True)], {"waiting": 2}, 0),
        (5, [_entry(0, 3, True)], {"dropped": 1}, 1),
    ],
)
def test_a_number_that_was_given_and_never_acknowledged_is_a_lost_reading(
    numbered: int, entries: list[Entry], state: dict[str, int], lost: int
) -> None:
    assert spool_counts([_run(numbered, **state)], entries)["lost"] == lost


def test_counts_of_killed_processes_add_up() -> None:
    run = FleetProgress(parse(SMALL).fleets[0])
    for acked in (3, 4):
        run.status = Status(acked=acked, waiting=2, cpu_s=0.5, acks={10: acked})
        run.retire()
    run.status = Status(acked=1, acks={11: 1})
    assert (run.total("acked"), run.total("cpu_s")) == (8, 1.0)
    assert run.latency().counts == {10: 7, 11: 1}


def test_percentiles_are_within_five_percent() -> None:
    histogram = Histogram()
    for ms in range(1, 1001):
        histogram.add(ms)
    assert histogram.percentile(0.5) == pytest.approx(500, rel=0.05)
    assert histogram.percentile(0.99) == pytest.approx(990, rel=0.05)
    assert Histogram().percentile(0.5) is None


# -- replay -------------------------------------------------------------------------------------


def test_a_csv_is_replayed_device_by_device_in_the_order_of_its_times(tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    file.write_text("device,ts,level,flow\nb,2,5,\na,2,2,9.5\na,1,1,\nb,1,4,nan\n")
    replay = Replay.load(file)
    first = replay.of(0)
    assert [next(first) for _ in range(3)] == [
        {"level": 1.0},
        {"level": 2.0, "flow": 9.5},
        {"level": 1.0},
    ]
    assert next(replay.of(3)) == {"level": 4.0}


def test_a_parquet_file_is_replayed_as_well(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"device": ["a", "a"], "level": [1.5, None], "ts": [2, 1]})
    pq.write_table(table, tmp_path / "day.parquet")
    assert next(Replay.load(tmp_path / "day.parquet").of(0)) == {"level": 1.5}


@pytest.mark.parametrize("text", ["device,level\n", "level\n1\n", "device,level\na,high\n"])
def test_a_table_that_cannot_be_replayed_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ScenarioError, match=r"bad\.csv"):
        Replay.load(tmp_path / "bad.csv")


# -- the page -----------------------------------------------------------------------------------


def test_the_page_escapes_everything_and_needs_nothing_from_elsewhere() -> None:
    evil = "<script>alert(1)</script>"
    plot = Plot(evil, evil, [0, 1, 2], [Series(evil, [1.0, None, 3.0])])
    text = page(title=evil, verdict=evil, plots=[plot], facts=[(evil, evil)], notes=[evil])
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_of_a_run_without_samples_can_be_made() -> None:
    assert "<svg" in page(
        title="t", verdict="exact", plots=[Plot("p", "u", [], [Series("s", [])])], facts=[],
        notes=[],
    )  # fmt: skip


def _document(**changes: Any) -> dict[str, Any]:
    """What a scenario of four devices leaves behind."""
    sample = {"at": 0.0, "connected": 4, "taken": 0, "acked": 0, "waiting": 0, "ack_p50": None,
              "ack_p99": None}  # fmt: skip
    facts = {"devices": 4, "incarnations": 1, "connections": 5, "acknowledged_messages": 80,
             "ack_ms": {"p50": 5.0, "p95": 8.0, "p99": 9.0}, "rss_mb": 4.0,
             "rss_kb_per_device": 1000.0, "cpu_s": 1.0, "cpu_ms_per_device": 20.0}  # fmt: skip
    played = load_scenario("bad-day")
    return {
        "verdict": "exact", "scenario": "bad day", "played": msgspec.to_builtins(played), "seed": 1,
        "devices": 4, "differences": [], "notices": [], "dispositions": {"ok": 90},
        "sent": {"messages": 82, "readings": 90, "acknowledged": 90, "unacknowledged": 0,
                 "repeated": 2, "garbage": 0, "conflicting": 0},
        "windows": {"checked": 12, "missing": 0, "extra": 0, "wrong": 0, "expired": 0},
        "latest": {"checked": 4, "wrong": 0},
        "archive": {"objects": 3, "records": 82, "readings": 90, "missing": 0, "duplicated": 0,
                    "wrong": 0, "extra": 0, "rejected": 0, "repeated": 2},
        "faults": {"power_cut": 3, "duplicates": 2},
        "spool": {"numbered": 90, "lost": 0, "waiting": 0, "dropped": 0, "refused": 0},
        "fleets": {"pumps": facts}, "samples": [sample, {**sample, "at": 1.0, "taken": 90}],
        "latency_ms": {"p50": None, "p95": None, "p99": None},
        "live_latency_ms": {"p50": None, "p95": None, "p99": None}, "longest_stall_s": None,
        "startup_s": {"scenario": 60.0}, "restarts": None, "conflicts": None, **changes,
    }  # fmt: skip


def test_the_page_of_a_scenario_explains_the_run_to_a_reader_who_was_not_there() -> None:
    text = report_page(_document())
    for part in (
        "Every reading that a device took is in its windows and in the archive, exactly once",
        load_scenario("bad-day").about,
        "3 times a fleet&#x27;s process was killed without warning",
        "2 messages were published twice",
        "12 compared",
        "✓ none missing or extra or wrong",
        "night: 6 min 0.06 messages/s a device",
        "--scenario bad-day --seed 1",
    ):
        assert part in text, part
    assert not re.search(r"[{}]\W?&#x27;|\b[a-z]+_[a-z_]+\b(?=[:,<])", _body(text))


def test_the_page_of_an_inexact_run_says_so_first_and_shows_what_differs() -> None:
    windows = {"checked": 12, "missing": 1, "extra": 0, "wrong": 2, "expired": 0}
    text = report_page(
        _document(verdict="inexact", windows=windows, differences=["window 1m#x of d is missing"])
    )
    body = _body(text)
    assert body.index("Inexact.") < body.index("window 1m#x of d is missing")
    assert "✗ 1 missing, 2 wrong" in body


def _body(text: str) -> str:
    return text.split("<main>")[1]


@pytest.mark.parametrize(("value", "top"), [(0, 1), (3, 5), (10, 10), (11, 20), (0.3, 0.5)])
def test_axes_end_on_round_numbers(value: float, top: float) -> None:
    assert nice(value) == pytest.approx(top)


def test_a_scenario_is_a_value() -> None:
    assert msgspec.convert(msgspec.to_builtins(load_scenario("day")), Scenario) == load_scenario(
        "day"
    )


def test_the_worker_s_latency_is_shown_with_and_without_wrong_clocks() -> None:
    document = {
        "latency_ms": {"p99": 3_600_000.0},
        "live_latency_ms": {"p99": 640.0},
        "longest_stall_s": 0.42,
    }
    (line,) = worker_lines(document)
    assert "p99 3600000 ms, 640 ms without wrong clocks" in line
    assert "longest stall of a shard 0.4 s" in line
    unknown = {"p99": None}
    assert worker_lines({"latency_ms": unknown, "live_latency_ms": unknown}) == []
