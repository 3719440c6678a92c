"""The item in which a worker reports stays small, however many shards there are."""

from __future__ import annotations

import random
from typing import Any

import pytest

from consumers.shard.report import Reject, ShardReport
from consumers.worker.status import WorkerStatus
from ingest.tables import status as table

LIMIT = 4096


def board(shards: int, *, lost: int = 0) -> WorkerStatus:
    """A status of so many shards held, after others were lost."""
    chance, now = random.Random(7), [0.0]
    kept = WorkerStatus(lambda: now[0])
    for number in range(lost):
        kept.report(report(chance, f"shardId-{number:012d}", number, lease_lost=True))
    now[0] += 100.0
    for number in range(lost, lost + shards):
        kept.report(report(chance, f"shardId-{number:012d}", number))
    return kept


def report(chance: random.Random, shard: str, pid: int, **more: Any) -> ShardReport:
    ago = chance.randrange(60_000)
    return ShardReport(
        shard, pid, records=chance.randrange(10**7), behind_ms=chance.randrange(10**6),
        dispositions={"ok": chance.randrange(10**8), "late": 3},
        latency={bucket: chance.randrange(1000) for bucket in range(60, 200)},
        commits=chance.randrange(10**4), committed_at=1_795_420_800_000 - ago,
        uncommitted_since=1_795_420_800_000 - ago, memory_mb=chance.random() * 100,
        committed_key=f"telemetry/v1/{shard}-{chance.randrange(10**56)}.0.parquet",
        rejects=[Reject("d" * 128, "malformed", chance.randrange(10**12), "\\x00" * 40)], **more,
    )  # fmt: skip


def size(item: dict[str, Any]) -> int:
    """What DynamoDB counts."""
    values = ((name, next(iter(value.values()))) for name, value in item.items())
    return sum(len(name) + len(value) for name, value in values)


@pytest.mark.parametrize("shards", [0, 1, 16, 64, 500])
def test_a_report_fits_into_four_kilobytes(shards: int) -> None:
    snapshot = board(shards).snapshot()
    item = table.write("a-worker-with-a-long-host-name-1234abcd", snapshot, 1_795_420_800_000)
    assert size(item) <= LIMIT
    read = table.read(item)
    assert read["records"] == snapshot["records"]
    assert len(read["shards"]) + read.get("shards_left_out", 0) == shards


def test_64_shards_are_all_in_it_and_of_more_those_that_are_furthest_behind() -> None:
    read = table.read(table.write("w", board(64).snapshot(), 1))
    assert len(read["shards"]) == 64
    snapshot = board(500).snapshot()
    read = table.read(table.write("w", snapshot, 1))
    worst = sorted((one["lag_ms"] for one in snapshot["shards"]), reverse=True)
    assert {one["lag_ms"] for one in read["shards"]} == set(worst[: len(read["shards"])])


def test_shards_that_were_lost_leave_their_counts_and_nothing_else() -> None:
    kept = board(64, lost=1436)
    kept.snapshot()
    kept.set_lags({})
    snapshot = kept.snapshot()
    assert len(snapshot["shards"]) == 64
    assert snapshot["dispositions"]["late"] == 3 * 1500
    assert size(table.write("w", snapshot, 1)) <= LIMIT
    assert len(kept._shards) == 64


def test_a_report_that_is_no_json_is_refused() -> None:
    for bad in ({"S": "{"}, {"B": b"x"}):
        with pytest.raises(ValueError, match="not a report"):
            table.read({"worker": {"S": "w"}, "updated_at": {"N": "1"}, "report": bad})
