"""What was used, as plain values."""

from __future__ import annotations

from infra.emulator.meters import Meters
from infra.emulator.usage import Usage


def meters() -> Meters:
    counted = Meters()
    counted.add("dynamodb", "tables", "windows", "write_units", by=5)
    counted.add("dynamodb", "tables", "windows", "kinds", "1m", "write_units", by=5)
    counted.add("dynamodb", "tables", "leases", "write_units", by=2)
    counted.add("dynamodb", "tables", "leases", "read_units", by=0.5)
    counted.add("kinesis", "records", by=10)
    counted.add("requests", "dynamodb", "PutItem", by=3)
    return counted


def test_counters_are_nested_by_their_path() -> None:
    assert meters().snapshot()["dynamodb"]["tables"]["windows"] == {
        "kinds": {"1m": {"write_units": 5}},
        "write_units": 5,
    }


def test_usage_is_by_table_and_a_message() -> None:
    document = Usage("strict", meters().snapshot()).as_document()
    assert document["profile"] == "strict"
    assert document["dynamodb"]["write_units"] == 7
    assert document["dynamodb"]["write_units_a_message"] == 0.7
    assert document["dynamodb"]["throttled"] == 0
    assert document["dynamodb"]["tables"]["windows"]["write_units_by_kind"] == {"1m": 5}
    assert document["requests"] == {"dynamodb": 3}


def test_usage_of_a_time_is_the_difference_of_two_readings() -> None:
    counted = meters()
    before = Usage("strict", counted.snapshot())
    counted.add("dynamodb", "tables", "windows", "write_units", by=4)
    counted.add("dynamodb", "tables", "new", "read_units", by=1)
    counted.add("kinesis", "records", by=2)
    used = Usage("strict", counted.snapshot()).since(before)
    assert used.write_units == 4
    assert used.read_units == 1
    assert used.records == 2
    assert used.as_document()["dynamodb"]["write_units_a_message"] == 2


def test_without_messages_there_are_no_units_a_message() -> None:
    assert Usage("strict", {}).as_document()["dynamodb"]["write_units_a_message"] is None
