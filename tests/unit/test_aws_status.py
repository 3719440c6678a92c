"""What ``penstock status --aws`` makes of AWS's answers."""

from __future__ import annotations

from datetime import UTC, datetime

from infra.aws.status.judge import alarms_of, newest, workers_of, write_cost
from infra.cost.prices import LIST, read_prices

NOW = datetime(2026, 3, 1, 5, tzinfo=UTC)


def test_shards_of_a_silent_worker_are_left_out_and_it_is_counted() -> None:
    reports = [
        {"worker": "b", "updated_at": 100_000, "shards": [{"shard": "1", "lag_ms": None}]},
        {"worker": "a", "updated_at": 99_000, "shards": [{"shard": "2", "lag_ms": 5}]},
        {"worker": "c", "updated_at": 0, "shards": [{"shard": "3", "lag_ms": 9}]},
    ]
    found = workers_of(reports, 101_000)
    assert [one["worker"] for one in found["workers"]] == ["a", "b"]
    assert (found["silent"], found["lag_ms"]) == (1, 5)
    assert [one["shard"] for one in found["shards"]] == ["2", "1"]
    assert workers_of([], 0)["lag_ms"] is None


def test_an_alarm_without_data_is_neither_firing_nor_ok() -> None:
    alarms = [
        {"AlarmName": name, "StateValue": state, "StateUpdatedTimestamp": NOW}
        for name, state in (("b", "ALARM"), ("a", "ALARM"), ("c", "INSUFFICIENT_DATA"))
    ]
    found = alarms_of(alarms)
    assert [one["alarm"] for one in found["firing"]] == ["a", "b"]
    assert (found["ok"], found["insufficient_data"]) == (0, 1)


def test_a_provisioned_table_costs_its_capacity_and_not_what_it_wrote() -> None:
    found = write_cost({"w": 1_000_000.0, "d": 1_000_000.0}, {"w": 100}, read_prices(LIST))
    assert found["tables"]["d"]["usd"] == 0.625
    assert found["tables"]["w"]["usd"] == round(100 * 0.4745 * 12 / 365, 4)
    assert found["write_units"] == 2_000_000


def test_the_newest_object_is_the_one_that_was_made_last_whatever_its_name() -> None:
    objects = [
        {"Key": "b", "LastModified": datetime(2026, 3, 1, 4, tzinfo=UTC), "Size": 1},
        {"Key": "a", "LastModified": datetime(2026, 3, 1, 4, 59, tzinfo=UTC), "Size": 2},
    ]
    last = newest(objects, NOW)
    assert last is not None
    assert (last["key"], last["age_s"], last["bytes"]) == ("a", 60, 2)
    assert newest([], NOW) is None
