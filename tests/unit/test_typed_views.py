"""SQL views of device types: a real column for each metric, and as little read as without."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ingest.schemas.schema import Metric, Schema
from lake.sql.session import QueryError, Session
from lake.sql.typed_views import DeviceTypes
from tests.harness.known_archive import build
from tests.harness.lake import BUCKET, MemoryBucket, commit, record
from tests.harness.shard import NOW, payload


def archive() -> MemoryBucket:
    bucket = MemoryBucket()
    rows = [
        ("pump-1", 0, {"pressure": 4.0, "ts": 1.0}),
        ("pump-1", 1, {"pressure": 6.0}),
        ("pump'2", 0, {"flow": 3.0}),
        ("meter-1", 0, {"pressure": 99.0}),
    ]
    commit(
        bucket,
        [
            record(number, device, payload("boot-one", seq, [(NOW + seq, metrics)]))
            for number, (device, seq, metrics) in enumerate(rows, 1)
        ],
    )
    return bucket


def opened(bucket: object, devices: Sequence[tuple[str, str]] | None = None) -> Session:
    metrics = {"pressure": Metric("bar"), "flow": Metric(), "ts": Metric()}
    types = DeviceTypes(
        [Schema("Pump/2", 1, metrics), Schema("valve", 1, {"open": Metric()})],
        [("pump-1", "Pump/2"), ("pump'2", "Pump/2"), ("meter-1", "meter")]
        if devices is None
        else devices,
    )
    return Session(bucket, BUCKET, device_types=lambda: types)  # type: ignore[arg-type]


def test_each_metric_of_the_schema_is_a_column_of_doubles() -> None:
    with opened(archive()) as lake:
        found = lake.query(
            "SELECT device_id, seq, pressure, flow, ts_value FROM readings_pump_2 ORDER BY 1, 2"
        )
        assert [str(kind) for kind in found.types[2:]] == ["DOUBLE"] * 3
        assert found.fetchall() == [
            ("pump'2", 0, None, 3.0, None),
            ("pump-1", 0, 4.0, None, 1.0),
            ("pump-1", 1, 6.0, None, None),
        ]
        assert lake.query("SELECT avg(pressure) FROM readings_pump_2").fetchall() == [(5.0,)]
        assert lake.query("SELECT * FROM readings_valve").fetchall() == []
        assert lake.query("SELECT count(*) FROM readings").fetchall() == [(4,)]


def test_a_type_without_devices_has_a_view_without_rows() -> None:
    with opened(archive(), []) as lake:
        assert lake.query("SELECT count(pressure) FROM readings_pump_2").fetchall() == [(0,)]


def test_a_view_that_no_schema_gives_is_named_in_the_refusal() -> None:
    with opened(archive()) as lake, pytest.raises(QueryError, match="readings_robot"):
        lake.query("SELECT * FROM readings_robot")


def test_a_bound_on_a_view_saves_reading_as_on_readings() -> None:
    query = "SELECT count(*) FROM {} WHERE ts < '2026-11-23 09:00:00+00' AND device_id = 'dev-1'"
    bucket = build()
    with opened(bucket, [(f"dev-{n}", "Pump/2") for n in range(9)]) as lake:
        lake.query(query.format("readings")).fetchall()
        plain = lake.reads.objects
    with opened(bucket, [(f"dev-{n}", "Pump/2") for n in range(9)]) as lake:
        lake.query(query.format("readings_pump_2")).fetchall()
        assert lake.reads.objects == plain
