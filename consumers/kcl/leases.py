"""The KCL's lease tables, written by us at two moments when the KCL itself would wait.

At the start of a new application the KCL waits up to 30 s before its first shard sync, and then for
a round of assignment. When one row a shard exists already, it begins at once. The rows are those
that it would write itself.

After a daemon was killed, its leader's lock stays valid for 2 minutes (KCL 3.1.3,
``DynamoDBLockBasedLeaderDecider``), and without a leader no leases are assigned. A supervisor that
saw its daemon die releases what the daemon held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from consumers.aws.errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient


def create_leases(
    dynamodb: DynamoDBClient, kinesis: KinesisClient, *, stream: str, application: str,
    position: str,
) -> bool:  # fmt: skip
    """Create the application's lease table with one row for each open shard.

    ``position`` is ``TRIM_HORIZON`` or ``LATEST``. Returns ``False``, and does nothing, when
    the table is there: its leases may be in use.
    """
    try:
        dynamodb.create_table(
            TableName=application,
            KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    except ClientError as error:
        if code_of(error) == "ResourceInUseException":
            return False
        raise
    dynamodb.get_waiter("table_exists").wait(
        TableName=application, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=stream)
    for row in lease_rows((shard for page in pages for shard in page["Shards"]), position):
        dynamodb.put_item(TableName=application, Item=row)
    return True


def release(dynamodb: DynamoDBClient, application: str, worker: str | None = None) -> int:
    """Release what a worker that is known to be dead holds, or what every worker holds when
    ``worker`` is ``None``. Returns the number of rows released.

    These are the leader's lock, the worker's entry among those that leases are assigned to (it
    would count as alive for another minute), and its leases. Each release is conditional on the
    owner, so what a living worker has taken since stays."""
    coordinator, members = f"{application}-CoordinatorState", f"{application}-WorkerMetricStats"
    given = 0
    for row in _owned(dynamodb, coordinator, "ownerName", worker):
        given += _delete(dynamodb, coordinator, "key", row["key"], "ownerName", row)
    for row in _owned(dynamodb, members, "wid", worker):
        given += _delete(dynamodb, members, "wid", row["wid"], "wid", row)
    for row in _owned(dynamodb, application, "leaseOwner", worker):
        given += _disown(dynamodb, application, row)
    return given


def _owned(
    dynamodb: DynamoDBClient, table: str, owner: str, worker: str | None
) -> list[dict[str, Any]]:
    """The rows of a table that the worker owns, or that any worker owns."""
    return [
        row for row in _rows(dynamodb, table) if owner in row and worker in (None, row[owner]["S"])
    ]


def _delete(
    dynamodb: DynamoDBClient, table: str, key: str, value: Any, owner: str, row: dict[str, Any]
) -> bool:
    return _unless_taken(
        dynamodb.delete_item,
        TableName=table,
        Key={key: value},
        ConditionExpression="#o = :o",
        ExpressionAttributeNames={"#o": owner},
        ExpressionAttributeValues={":o": row[owner]},
    )


def _disown(dynamodb: DynamoDBClient, table: str, row: dict[str, Any]) -> bool:
    return _unless_taken(
        dynamodb.update_item,
        TableName=table,
        Key={"leaseKey": row["leaseKey"]},
        UpdateExpression="REMOVE leaseOwner",
        ConditionExpression="leaseOwner = :o",
        ExpressionAttributeValues={":o": row["leaseOwner"]},
    )


def _unless_taken(call: Callable[..., Any], **request: Any) -> bool:
    """Make a conditional write; ``False`` when somebody else owns the row by now."""
    try:
        call(**request)
    except ClientError as error:
        if code_of(error) == "ConditionalCheckFailedException":
            return False
        raise
    return True


def _rows(dynamodb: DynamoDBClient, table: str) -> list[dict[str, Any]]:
    """All rows of a lease table; none when the KCL has not made it yet."""
    try:
        pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return [row for page in pages for row in page["Items"]]
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return []
        raise


def lease_rows(shards: Iterable[Mapping[str, Any]], position: str) -> list[dict[str, Any]]:
    """One lease item for each shard that is open."""
    return [
        {
            "leaseKey": {"S": shard["ShardId"]},
            "leaseCounter": {"N": "0"},
            "checkpoint": {"S": position},
            "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
            "startingHashKey": {"S": shard["HashKeyRange"]["StartingHashKey"]},
            "endingHashKey": {"S": shard["HashKeyRange"]["EndingHashKey"]},
        }
        for shard in shards
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    ]
