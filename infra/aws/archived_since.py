"""Whether the archive has everything that had arrived in the stream by some time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from consumers.kcl.leases import SHARD_END, read_leases
from ingest.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient

SKEW_MS: Final = 10_000
"""How far this machine's clock and that of Kinesis may be apart."""

_READS: Final = 20


def archived_since(
    kinesis: KinesisClient, dynamodb: DynamoDBClient, settings: Settings, moment_ms: int
) -> bool:
    """Whether no record of the stream that arrived before ``moment_ms`` is after a checkpoint. A
    checkpoint never passes what is not archived (invariant K), so the archive has all of them
    then."""
    checkpoints = {
        lease.shard: lease.checkpoint for lease in read_leases(dynamodb, settings.application)
    }
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=settings.stream)
    shards = [shard["ShardId"] for page in pages for shard in page["Shards"]]
    return all(
        _is_archived(kinesis, settings.stream, shard, checkpoints.get(shard), moment_ms + SKEW_MS)
        for shard in shards
    )


def _is_archived(
    kinesis: KinesisClient, stream: str, shard: str, checkpoint: str | None, moment_ms: int
) -> bool:
    """Whether the first record after the checkpoint arrived at this time (ms) or later."""
    if checkpoint == SHARD_END:
        return True
    where: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
    if checkpoint == "LATEST":
        return False  # nobody knows from where on this shard is read
    if checkpoint not in (None, "TRIM_HORIZON"):
        where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                 "StartingSequenceNumber": checkpoint}  # fmt: skip
    iterator: str | None = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **where)[
        "ShardIterator"
    ]
    for _ in range(_READS):  # a read may be empty and not at the end
        if iterator is None:
            return True
        answer = kinesis.get_records(ShardIterator=iterator, Limit=1)
        for record in answer["Records"]:
            return record["ApproximateArrivalTimestamp"].timestamp() * 1000 >= moment_ms
        iterator = answer.get("NextShardIterator")
        if not answer.get("MillisBehindLatest"):
            return True
    return False


def await_archived_since(
    look: Callable[[int], bool],
    moment_ms: int,
    *,
    patience_s: float,
    stopping: Callable[[], bool],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> bool:
    """Wait until ``look`` says that everything up to a time is archived; whether it did."""
    deadline = clock() + patience_s
    while not look(moment_ms):
        if stopping() or clock() > deadline:
            return False
        sleep(2.0)
    return True
