"""What would be lost if a stack went now: unread records, and messages whose rule failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consumers.kcl.leases import read_leases
from ingest.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_sqs import SQSClient

ALIVE_MS: Final = 20_000
"""A worker reports every 5 s (:mod:`consumers.worker.status_table`); after four times that it is
taken for stopped."""
_LIMIT: Final = 1_000
_READS: Final = 50
_WAITING: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class Backlog(NamedTuple):
    """Records after the checkpoints: at least ``records``, or exactly when not ``more``."""

    records: int
    more: bool

    def __bool__(self) -> bool:
        return self.records > 0 or self.more

    def __str__(self) -> str:
        return f"{self.records}{' or more' if self.more else ''} records"


def unread(kinesis: KinesisClient, dynamodb: DynamoDBClient, settings: Settings) -> Backlog:
    """The records that no checkpoint covers. A checkpoint follows the archive, so these are not
    archived, or not known to be. None when there is no stream."""
    checkpoints = {
        lease.shard: lease.checkpoint for lease in read_leases(dynamodb, settings.application)
    }
    try:
        pages = kinesis.get_paginator("list_shards").paginate(StreamName=settings.stream)
        shards = [shard["ShardId"] for page in pages for shard in page["Shards"]]
    except kinesis.exceptions.ResourceNotFoundException:
        return Backlog(0, False)
    parts = [_unread_of(kinesis, settings.stream, one, checkpoints.get(one)) for one in shards]
    return Backlog(sum(part.records for part in parts), any(part.more for part in parts))


def _unread_of(kinesis: KinesisClient, stream: str, shard: str, checkpoint: str | None) -> Backlog:
    where = _position(checkpoint)
    if where is None:
        return Backlog(0, False)
    iterator: str | None = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **where)[
        "ShardIterator"
    ]
    found = 0
    for _ in range(_READS):  # a read may be empty and not at the end
        if iterator is None:
            return Backlog(found, False)
        answer = kinesis.get_records(ShardIterator=iterator, Limit=_LIMIT)
        found += len(answer["Records"])
        iterator = answer.get("NextShardIterator")
        if not answer.get("MillisBehindLatest"):
            return Backlog(found, False)
        if found >= _LIMIT:
            break
    return Backlog(found, True)


def _position(checkpoint: str | None) -> Mapping[str, Any] | None:
    """From where a shard is unread; ``None`` when nothing of it can be."""
    if checkpoint in ("SHARD_END", "LATEST"):
        return None
    if checkpoint in (None, "TRIM_HORIZON"):
        return {"ShardIteratorType": "TRIM_HORIZON"}
    return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": checkpoint}


def rule_errors(sqs: SQSClient, settings: Settings) -> int:
    """How many messages wait in the queue of rule errors, about; none when there is no queue."""
    try:
        url = sqs.get_queue_url(QueueName=settings.error_queue)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        return 0
    answer: Any = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_WAITING))
    return sum(int(answer["Attributes"].get(name, 0)) for name in _WAITING)


def living_workers(
    dynamodb: DynamoDBClient,
    settings: Settings,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> list[str]:
    """Names of the workers that reported lately; none when there is no status table."""
    try:
        pages = dynamodb.get_paginator("scan").paginate(
            TableName=settings.status_table,
            ProjectionExpression="worker, updated_at",
            ConsistentRead=True,
        )
        items = [item for page in pages for item in page["Items"]]
    except dynamodb.exceptions.ResourceNotFoundException:
        return []
    return sorted(
        item["worker"]["S"]
        for item in items
        if now_ms() - int(item.get("updated_at", {}).get("N", 0)) < ALIVE_MS
    )
