"""Lease rows ahead of the KCL.

On an empty lease table the KCL waits up to 30 s before its first shard sync and then for a
round of assignment. With one row a shard already there it begins at once; the rows are those
it would write itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from consumers.errors import code_of

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
