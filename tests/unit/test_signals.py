"""Signals: repeatable, and alive."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest

from ingest.schemas.schema import Metric, Schema
from ingest.schemas.schema_file import parse_schema
from simulator.load.sensor import Sensor
from simulator.signals import KINDS, UNITS, kind_of, reader, shapes_of

SCHEMAS = Path(__file__).parents[2] / "schemas"

START = 1_795_420_800_000
MINUTE = 60_000
DAY = 1440 * MINUTE


def _series(kind: str, name: str, *, step_ms: int = MINUTE, count: int = 1440) -> list[float]:
    read = reader(7, "device-1", kind)
    return [float(read(START + i * step_ms)[name]) for i in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_depends_on_seed_device_and_time_alone(kind: str) -> None:
    one, two = reader(7, "device-1", kind), reader(7, "device-1", kind)
    backwards = [two(START + i * 1000) for i in reversed(range(50))]
    assert [one(START + i * 1000) for i in range(50)] == backwards[::-1]


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_or_device_gives_other_values(kind: str) -> None:
    def values(seed: int, device: str) -> list[dict[str, float | bool]]:
        return [reader(seed, device, kind)(START + i * 1000) for i in range(20)]

    assert values(7, "device-1") != values(8, "device-1")
    assert values(7, "device-1") != values(7, "device-2")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_three_metrics_and_one_of_them_is_a_bool(kind: str) -> None:
    metrics = reader(1, "d", kind)(START)
    assert len(metrics) == 3
    assert sum(isinstance(value, bool) for value in metrics.values()) == 1
    assert all(math.isfinite(value) for value in metrics.values())


def test_values_are_rounded_as_a_sensor_rounds() -> None:
    for value in _series("thermostat", "temperature", count=200):
        assert value == round(value, 2)
    for value in _series("meter", "power", count=200):
        assert value == int(value)


def test_a_day_is_warmer_at_one_time_than_at_another() -> None:
    hours = [
        _series("thermostat", "temperature", count=1440)[i : i + 60] for i in range(0, 1440, 60)
    ]
    means = [sum(hour) / 60 for hour in hours]
    assert 4.0 < max(means) - min(means) < 8.0


def test_neighbouring_values_differ_by_noise_and_not_by_jumps() -> None:
    values = _series("thermostat", "temperature", step_ms=1000, count=600)
    steps = [abs(b - a) for a, b in pairwise(values)]
    assert 0 < sum(steps) / len(steps) < 0.5
    assert max(steps) < 1.5


def test_a_pump_changes_its_level_in_steps() -> None:
    values = _series("pump", "flow", step_ms=900_000, count=96)
    assert max(values) - min(values) > 20.0


def test_a_door_is_open_sometimes_and_for_a_while() -> None:
    values = _series("thermostat", "door_open", step_ms=1000, count=45 * 400)
    assert 0.02 < sum(values) / len(values) < 0.2
    changes = sum(a != b for a, b in pairwise(values))
    assert 0 < changes < len(values) / 45


def test_times_before_1970_and_far_ahead_have_values_too() -> None:
    for kind in KINDS:
        for ts in (-DAY, 0, 2**53 - 1):
            assert all(math.isfinite(value) for value in reader(1, "d", kind)(ts).values())


def test_a_fleet_has_every_kind_in_turn() -> None:
    assert [kind_of(i) for i in range(4)] == ["thermostat", "pump", "meter", "thermostat"]


def test_signals_of_a_schema_stay_in_its_ranges_and_are_alive() -> None:
    for path in sorted(SCHEMAS.glob("*.toml")):
        schema = parse_schema(path.read_text(), str(path))
        read = reader(7, "device-1", schema.type, shapes_of(schema))
        taken = [read(START + i * MINUTE) for i in range(0, 1440, 7)]
        assert taken[0].keys() == schema.metrics.keys()
        for name, metric in schema.metrics.items():
            assert all(metric.takes(one[name]) for one in taken), (path, name)
            assert len({one[name] for one in taken}) > 1, (path, name)


def test_a_narrow_range_and_one_without_an_end_are_kept_to() -> None:
    metrics = {"a": Metric(min=0.0011, max=0.0012), "b": Metric(min=5.0), "c": Metric(max=-3.0)}
    read = reader(1, "d", "x", shapes_of(Schema("x", 1, metrics)))
    for i in range(500):
        for name, value in read(START + i * MINUTE).items():
            assert metrics[name].takes(value), (name, value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_simulators_own_types_send_what_their_schemas_take(kind: str) -> None:
    schema = parse_schema((SCHEMAS / f"{kind}.toml").read_text())
    read = reader(7, "device-1", kind)
    for i in range(0, 1440, 3):
        reading = read(START + i * MINUTE)
        assert reading.keys() == schema.metrics.keys()
        assert all(schema.metrics[name].takes(value) for name, value in reading.items())
    assert {n: m.unit for n, m in schema.metrics.items() if m.unit} == {
        n: UNITS[n] for n in schema.metrics if n in UNITS
    }


def test_each_so_many_readings_are_outside_of_any_schema() -> None:
    noted: list[None] = []
    sensor = Sensor(reader(7, "d", "pump"), 0, 3, lambda: noted.append(None))
    schema = parse_schema((SCHEMAS / "pump.toml").read_text())
    outside = [
        not all(n in schema.metrics and schema.metrics[n].takes(v) for n, v in metrics.items())
        for _, metrics in sensor.take(START, 12)
    ]
    assert outside == [False, False, True] * 4
    assert len(noted) == 4
