"""Records are trimmed by their age, and readers keep their place."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from infra.emulator.kinesis.limits import Retention


def stream_of(ages_h: list[float]) -> dict[str, Any]:
    now = time.time()
    records = [
        {"SequenceNumber": str(n), "ApproximateArrivalTimestamp": now - age * 3600}
        for n, age in enumerate(ages_h)
    ]
    return {
        "StreamName": "s",
        "RetentionPeriodHours": 24,
        "shards": {"shard": {"records": records}},
    }


def reader(position: int, shard: str = "shard") -> dict[str, Any]:
    return {"stream": "s", "shard_id": shard, "position": position}


def test_records_older_than_the_retention_are_gone_and_readers_keep_their_place() -> None:
    stream = stream_of([30, 25, 24.1, 23.9, 1])
    readers = {"a": reader(1), "b": reader(4), "c": reader(4, "other")}
    kinesis = SimpleNamespace(_expire_iterators=lambda: None, _shard_iterators=readers)
    Retention(kinesis).expire_records(stream)
    records = stream["shards"]["shard"]["records"]
    assert [record["SequenceNumber"] for record in records] == ["3", "4"]
    assert records[readers["b"]["position"]]["SequenceNumber"] == "4"
    assert readers["a"]["position"] == 0  # what it would have read next is gone
    assert readers["c"]["position"] == 4


def test_iterators_are_looked_through_once_a_second() -> None:
    calls: list[int] = []
    kinesis = SimpleNamespace(_expire_iterators=lambda: calls.append(1), _shard_iterators={})
    retention = Retention(kinesis)
    for _ in range(100):
        retention.expire_iterators()
    assert len(calls) == 1
