"""Schemas from files: what is read, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.console import UserError
from infra.schemas import KEPT_MS, next_history
from ingest.schemas.item import history_of, write_request
from ingest.schemas.schema import LEAD_MS, History, Metric, column_names, units_of, view_name
from ingest.schemas.schema_file import SchemaError, parse_schema, read_schemas
from tests.harness.schemas import schema

PUMP = """\
type = "pump"
version = 2
outside = "quarantine"
description = "Pumps of hall 3"

[metrics.pressure]
unit = "bar"
min = 0
max = 16
description = "Behind the pump"

[metrics.running]
bool = true
"""


def test_a_schema_has_each_metric_with_unit_range_and_description() -> None:
    pump = parse_schema(PUMP)
    assert (pump.type, pump.version, pump.outside) == ("pump", 2, "quarantine")
    assert pump.metrics == {
        "pressure": Metric("bar", 0.0, 16.0, "Behind the pump"),
        "running": Metric("", 0.0, 1.0),
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ('type = "pump"', 'type = "a pump"', 1, "is no type of device"),
        ('type = "pump"', 'type = "--"', 1, "no type of device|gives no name"),
        ("version = 2", 'version = "2"', 2, "whole number"),
        ("version = 2", "version = 0", 2, "whole number"),
        ('outside = "quarantine"', 'outside = "drop"', 3, "warn, quarantine"),
        ('description = "Pumps of hall 3"', "colour = 3", 4, "there is no key 'colour'"),
        ('unit = "bar"', "unit = 3", 7, "unit is text"),
        ("min = 0", "min = true", 8, "min is a finite number"),
        ("min = 0", "min = nan", 8, "min is a finite number"),
        ("min = 0", "min = 17", 8, "min 17 is above max 16"),
        ("max = 16", "most = 16", 9, "there is no key 'most'"),
        ("[metrics.pressure]", "[metrics.Pressure]", 6, "does not match"),
        ("bool = true", "bool = 1", 13, "true or false"),
        ("bool = true", "bool = true\nmin = 0", 13, "takes no min"),
        ("[metrics.running]", "[metrics.running", 12, "not TOML"),
    ],
)
def test_a_wrong_schema_is_refused_with_file_line_and_reason(
    old: str, new: str, line: int, reason: str
) -> None:
    with pytest.raises(SchemaError, match=rf"^pump\.toml:{line}: .*({reason})"):
        parse_schema(PUMP.replace(old, new), "pump.toml")


def test_two_files_with_one_type_or_one_view_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(PUMP)
    (tmp_path / "b.toml").write_text(PUMP)
    with pytest.raises(SchemaError, match=r"b\.toml:1: there are two schemas of type 'pump'"):
        read_schemas(tmp_path)
    (tmp_path / "b.toml").write_text(PUMP.replace('"pump"', '"Pump"'))
    with pytest.raises(SchemaError, match="the same SQL view, readings_pump"):
        read_schemas(tmp_path)


def test_the_schemas_of_the_repository_are_right() -> None:
    schemas = read_schemas(Path(__file__).parents[2] / "schemas")
    assert [one.type for one in schemas] == ["compressor", "meter", "pump", "thermostat"]


def test_a_set_comes_into_force_after_the_lead_and_stays_for_what_arrived_before() -> None:
    first, change = next_history(History(), [schema(1, 0, 5)], 1_000)
    assert (change.added, change.since) == (["pump"], 1_000 + LEAD_MS)
    second, change = next_history(first, [schema(2, 0, 9)], 1_001)
    assert change.changed == ["pump"]
    assert second.at(1_000 + LEAD_MS) == first.newest
    assert second.at(1_001 + LEAD_MS) == second.newest
    assert first.at(1_000) is None


def test_two_sets_applied_at_once_do_not_come_into_force_at_once() -> None:
    first, _ = next_history(History(), [schema(1, 0, 5)], 1_000)
    second, _ = next_history(first, [schema(2, 0, 9)], 1_000)
    assert second.applied[0].since < second.applied[1].since


def test_a_changed_schema_needs_a_higher_version() -> None:
    history, _ = next_history(History(), [schema(3, 0, 5)], 0)
    with pytest.raises(UserError, match="write version = 4"):
        next_history(history, [schema(3, 0, 6)], 1)
    assert not next_history(history, [schema(3, 0, 5)], 1)[1]


def test_sets_that_judge_nothing_any_more_are_dropped() -> None:
    history, _ = next_history(History(), [schema(1, 0, 5)], 0)
    history, _ = next_history(history, [schema(2, 0, 6)], 1)
    history, _ = next_history(history, [schema(3, 0, 7)], KEPT_MS + LEAD_MS + 2)
    assert [one.schemas[0].version for one in history.applied] == [2, 3]


def test_the_item_gives_back_what_was_written() -> None:
    history, _ = next_history(History(), [schema(1, 0, 5)], 0)
    values = write_request("status", history, 0)["ExpressionAttributeValues"]
    assert history_of({"history": values[":history"]}) == history
    assert history_of({}) == History()


def test_names_for_sql_are_safe_and_do_not_collide() -> None:
    assert view_name("Hall-3/pump#2") == "readings_hall_3_pump_2"
    metrics = {"ts": Metric(), "ts_value": Metric(), "power": Metric()}
    names = column_names(metrics, ["ts", "seq"])
    assert len(set(names.values()) | {"ts", "seq"}) == 5
    assert names["power"] == "power"


def test_units_are_of_the_first_type_that_has_one() -> None:
    assert units_of([schema(1, 0, 5, kind="b"), parse_schema(PUMP)]) == {
        "a": "bar", "pressure": "bar",
    }  # fmt: skip
