"""The KCL's lease tables: reading them, and releasing what a dead daemon held.

The tables come from the stack's template; :mod:`consumers.kcl.first_leases` fills the lease table.
KCL 3.5 keeps the leader's lock and the workers' metrics in the lease table too, beside the leases,
once the two tables that 3.1 has for them are not there or were migrated. Both layouts are read.

After a daemon was killed, its leader's lock stays valid for 2 minutes (KCL 3.1.3 and 3.5.1,
``DynamoDBLockBasedLeaderDecider``), and without a leader no leases are assigned. A supervisor that
saw its daemon die releases what the daemon held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import ClientError

from consumers.aws.errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SHARD_END: Final = "SHARD_END"
_LEADER: Final = "Leader"
_MEMBER: Final = "WORKER_METRIC_STATS"
"""What KCL 3.5 calls the type of a worker's entry in the lease table (``EntityType``)."""


class Lease(NamedTuple):
    """A row of the lease table. ``owner`` is empty when nobody holds it; ``counter`` grows while
    somebody does. ``hashes`` are the first and the last hash key of the shard, where known."""

    shard: str
    owner: str
    counter: int
    checkpoint: str
    parents: frozenset[str] = frozenset()
    hashes: tuple[int, int] | None = None

    @property
    def ended(self) -> bool:
        """Whether the shard is closed and read to its end."""
        return self.checkpoint == SHARD_END


def read_leases(dynamodb: DynamoDBClient, application: str) -> list[Lease]:
    """The leases of an application as they are now."""
    return [
        Lease(
            shard=row["leaseKey"]["S"],
            owner=row.get("leaseOwner", {}).get("S", ""),
            counter=int(row.get("leaseCounter", {}).get("N", "0")),
            checkpoint=row["checkpoint"]["S"],
            parents=frozenset(row.get("parentShardId", {}).get("SS", ())),
            hashes=_hashes(row),
        )
        for row in _rows(dynamodb, application)
        if "checkpoint" in row
    ]


def _hashes(row: dict[str, Any]) -> tuple[int, int] | None:
    first, last = (row.get(name, {}).get("S") for name in ("startingHashKey", "endingHashKey"))
    return (int(first), int(last)) if first and last else None


def read_leader(dynamodb: DynamoDBClient, application: str) -> str:
    """The worker id that assigns leases; empty when there is none."""
    for table, key in _locks(application):
        for row in _rows(dynamodb, table):
            if row[key]["S"] == _LEADER and "ownerName" in row:
                return str(row["ownerName"]["S"])
    return ""


def _locks(application: str) -> tuple[tuple[str, str], ...]:
    """The tables that may hold the leader's lock, with their keys' names: first the one that counts
    once the KCL has left the other."""
    return (application, "leaseKey"), (f"{application}-CoordinatorState", "key")


def release(dynamodb: DynamoDBClient, application: str, worker: str | None = None) -> int:
    """Release what a worker that is known to be dead holds, or what every worker holds when
    ``worker`` is ``None``. Returns the number of rows released.

    These are the leader's lock, the worker's entry among those that leases are assigned to (it
    would count as alive for another minute), and its leases. Each release is conditional on the
    owner, so what a living worker has taken since stays."""
    members = f"{application}-WorkerMetricStats"
    given = 0
    for table, key in _locks(application):
        for row in _owned(dynamodb, table, "ownerName", worker):
            given += _delete(dynamodb, table, key, "ownerName", row)
    for row in _owned(dynamodb, members, "wid", worker):
        given += _delete(dynamodb, members, "wid", "wid", row)
    for row in _owned(dynamodb, application, "leaseKey", worker):
        if row.get("entityType", {}).get("S") == _MEMBER:
            given += _delete(dynamodb, application, "leaseKey", "leaseKey", row)
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
    dynamodb: DynamoDBClient, table: str, key: str, owner: str, row: dict[str, Any]
) -> bool:
    return _unless_taken(
        dynamodb.delete_item,
        TableName=table,
        Key={key: row[key]},
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
    """Make a conditional write; ``False`` when another worker owns the row by now."""
    try:
        call(**request)
    except ClientError as error:
        if code_of(error) == "ConditionalCheckFailedException":
            return False
        raise
    return True


def _rows(dynamodb: DynamoDBClient, table: str) -> list[dict[str, Any]]:
    """All rows of a lease table; none when the table does not exist."""
    try:
        pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return [row for page in pages for row in page["Items"]]
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return []
        raise
