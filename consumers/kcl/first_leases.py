"""The leases that a new application begins with, put there before its first daemon starts.

At the start of a new application the KCL waits up to 30 s before its first shard sync and then for
a round of assignment. With its first leases already there it begins at once; the rows are those
it would write itself.

The tables come with the stack (``infra/templates/pipeline.yaml``), the lease table with the index
that the KCL reads it by: made by the KCL, that index keeps a first start waiting for 5 to 20
minutes, and after 10 of them the KCL gives up until it is restarted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from consumers.aws.errors import code_of
from consumers.kcl.leases import read_leases

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient

INDEX: Final = "LeaseOwnerToLeaseKeyIndex"


def prepare_leases(
    dynamodb: DynamoDBClient, kinesis: KinesisClient, *, stream: str, application: str,
    position: str,
) -> bool:  # fmt: skip
    """Give a new application its first leases, and its lease table where there is none.

    ``position`` is ``TRIM_HORIZON`` or ``LATEST``. Returns ``False``, and changes nothing, when
    there are leases: they may be in use.
    """
    if _has_table(dynamodb, application):
        if read_leases(dynamodb, application):
            return False
    else:
        _make_table(dynamodb, application)
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=stream)
    for row in lease_rows([shard for page in pages for shard in page["Shards"]], position):
        _put_new(dynamodb, application, row)
    return True


def _has_table(dynamodb: DynamoDBClient, name: str) -> bool:
    try:
        dynamodb.describe_table(TableName=name)
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return False
        raise
    return True


def _make_table(dynamodb: DynamoDBClient, application: str) -> None:
    """Create the lease table with its index, as the KCL would."""
    try:
        dynamodb.create_table(
            TableName=application,
            KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            AttributeDefinitions=[
                {"AttributeName": "leaseKey", "AttributeType": "S"},
                {"AttributeName": "leaseOwner", "AttributeType": "S"},
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": INDEX,
                    "KeySchema": [
                        {"AttributeName": "leaseOwner", "KeyType": "HASH"},
                        {"AttributeName": "leaseKey", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
            BillingMode="PAY_PER_REQUEST",
        )
    except ClientError as error:
        if code_of(error) != "ResourceInUseException":  # another worker was faster
            raise
    dynamodb.get_waiter("table_exists").wait(
        TableName=application, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def _put_new(dynamodb: DynamoDBClient, table: str, row: dict[str, Any]) -> None:
    """Put a lease, unless another worker that starts now has."""
    try:
        dynamodb.put_item(
            TableName=table, Item=row, ConditionExpression="attribute_not_exists(leaseKey)"
        )
    except ClientError as error:
        if code_of(error) != "ConditionalCheckFailedException":
            raise


def lease_rows(shards: Iterable[Mapping[str, Any]], position: str) -> list[dict[str, Any]]:
    """The leases that a new application begins with.

    From ``LATEST`` on that is one for each open shard. From ``TRIM_HORIZON`` on it is one for
    each shard that has no parent in the stream any more, closed ones too: what a closed shard
    holds comes first, and the KCL makes its children's leases at its end.
    """
    known = {shard["ShardId"]: shard for shard in shards}

    def begins(shard: Mapping[str, Any]) -> bool:
        if position == "LATEST":
            return "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        return known.keys().isdisjoint(
            {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")}
        )

    return [
        {
            "leaseKey": {"S": name},
            "leaseCounter": {"N": "0"},
            "checkpoint": {"S": position},
            "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
            "startingHashKey": {"S": shard["HashKeyRange"]["StartingHashKey"]},
            "endingHashKey": {"S": shard["HashKeyRange"]["EndingHashKey"]},
        }
        for name, shard in known.items()
        if begins(shard)
    ]
