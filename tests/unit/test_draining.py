"""Before a stack goes: what is unread, who still works, and when to stop waiting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from infra.aws.removal.backlog import Backlog, living_workers, rule_errors, unread
from infra.aws.removal.draining import await_archived, await_stopped
from infra.aws.stacks.following import DeployError
from ingest.settings import Settings

SETTINGS = Settings()


class Stream:
    """Shards with their records and where each ends, as Kinesis answers; sequence numbers are
    positions."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            """There is no such stream."""

    def __init__(self, **shards: int) -> None:
        self.shards = shards
        self.empty_reads = 0

    def get_paginator(self, _: str) -> Stream:
        return self

    def paginate(self, *, StreamName: str) -> list[dict[str, Any]]:
        if not self.shards:
            raise self.exceptions.ResourceNotFoundException
        return [{"Shards": [{"ShardId": name} for name in self.shards]}]

    def get_shard_iterator(self, *, ShardId: str, **where: Any) -> dict[str, str]:
        start = int(where.get("StartingSequenceNumber", -1)) + 1
        return {"ShardIterator": f"{ShardId}:{start}:{self.empty_reads}"}

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict[str, Any]:
        shard, start, empty = ShardIterator.split(":")
        if int(empty):
            again = f"{shard}:{start}:{int(empty) - 1}"
            return {"Records": [], "MillisBehindLatest": 5, "NextShardIterator": again}
        left = self.shards[shard] - int(start)
        taken = min(left, Limit)
        return {
            "Records": [None] * taken,
            "MillisBehindLatest": 5 if left > taken else 0,
            "NextShardIterator": f"{shard}:{int(start) + taken}:0",
        }


class Leases:
    """A lease table: checkpoints by shard."""

    def __init__(self, **checkpoints: str) -> None:
        self.checkpoints = checkpoints

    def get_paginator(self, _: str) -> Leases:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        rows = [
            {"leaseKey": {"S": shard}, "checkpoint": {"S": checkpoint}}
            for shard, checkpoint in self.checkpoints.items()
        ]
        return [{"Items": rows}]


@pytest.mark.parametrize(
    ("checkpoint", "records"),
    [("4", 5), ("9", 0), ("TRIM_HORIZON", 10), ("SHARD_END", 0), ("LATEST", 0)],
)
def test_a_record_is_unread_until_a_checkpoint_covers_it(checkpoint: str, records: int) -> None:
    stream: Any = Stream(a=10, b=3)
    leases: Any = Leases(a=checkpoint, b="2")
    found = unread(stream, leases, SETTINGS)
    assert found == Backlog(records, False)
    assert bool(found) is (records > 0)


def test_a_shard_without_a_lease_is_unread_from_its_beginning() -> None:
    stream: Any = Stream(a=10, b=3)
    leases: Any = Leases(a="9")
    assert unread(stream, leases, SETTINGS).records == 3


def test_an_empty_read_that_is_not_at_the_end_is_no_end() -> None:
    stream: Any = Stream(a=10)
    stream.empty_reads = 3
    leases: Any = Leases(a="6")
    assert unread(stream, leases, SETTINGS) == Backlog(3, False)


def test_a_long_backlog_is_counted_up_to_a_limit() -> None:
    stream: Any = Stream(a=50_000)
    leases: Any = Leases()
    assert str(unread(stream, leases, SETTINGS)) == "1000 or more records"


def test_without_a_stream_nothing_is_unread() -> None:
    stream: Any = Stream()
    leases: Any = Leases()
    assert not unread(stream, leases, SETTINGS)


class Queue:
    """A queue with its three counts, or none."""

    class exceptions:
        class QueueDoesNotExist(Exception):
            """There is no such queue."""

    def __init__(self, *counts: int) -> None:
        self.counts = counts

    def get_queue_url(self, *, QueueName: str) -> dict[str, str]:
        assert QueueName == SETTINGS.error_queue
        if not self.counts:
            raise self.exceptions.QueueDoesNotExist
        return {"QueueUrl": "url"}

    def get_queue_attributes(self, *, AttributeNames: list[str], **_: Any) -> dict[str, Any]:
        return {"Attributes": dict(zip(AttributeNames, map(str, self.counts), strict=True))}


@pytest.mark.parametrize(("counts", "total"), [((), 0), ((1, 2, 3), 6), ((0, 0, 0), 0)])
def test_messages_in_flight_and_delayed_wait_too(counts: tuple[int, ...], total: int) -> None:
    queue: Any = Queue(*counts)
    assert rule_errors(queue, SETTINGS) == total


def test_a_worker_lives_while_it_reports_and_a_mark_of_viewers_is_no_worker() -> None:
    class Status(Leases):
        def paginate(self, **_: Any) -> list[dict[str, Any]]:
            return [
                {"Items": [
                    {"worker": {"S": "b"}, "updated_at": {"N": "99000"}},
                    {"worker": {"S": "a"}, "updated_at": {"N": "80001"}},
                    {"worker": {"S": "dead"}, "updated_at": {"N": "80000"}},
                    {"worker": {"S": "#watched"}},
                ]}
            ]  # fmt: skip

    status: Any = Status()
    assert living_workers(status, SETTINGS, lambda: 100_000) == ["a", "b"]


def waiting(looks: Sequence[int], workers: Sequence[str], patience_s: float = 60) -> list[int]:
    """The backlogs that are told until the wait ends; the last look is repeated."""
    left = [Backlog(records, False) for records in looks]
    told: list[int] = []
    await_archived(
        lambda: left.pop(0) if len(left) > 1 else left[0],
        lambda: workers,
        patience_s=patience_s,
        tell=lambda backlog: told.append(backlog.records),
        look_s=0,
    )
    return told


def test_the_wait_ends_when_every_record_is_archived() -> None:
    assert waiting([5, 5, 2, 0], ["w"]) == [5, 5, 2]
    assert waiting([0], []) == []


def test_unread_records_without_a_worker_are_not_waited_for() -> None:
    with pytest.raises(DeployError, match=r"5 records.*no worker runs.*--discard"):
        waiting([5], [])


def test_a_worker_without_progress_is_not_waited_for_for_ever() -> None:
    with pytest.raises(DeployError, match="worker w makes no progress: see its log"):
        waiting([5], ["w"], patience_s=0)


def test_workers_are_waited_for_until_none_reports() -> None:
    running = [["a", "b"], ["b"], []]
    told: list[Sequence[str]] = []
    await_stopped(lambda: running.pop(0), tell=told.append, look_s=0)
    assert told == [["a", "b"], ["b"]]
    with pytest.raises(DeployError, match="worker a still runs: stop it"):
        await_stopped(lambda: ["a"], tell=told.append, patience_s=0, look_s=0)
