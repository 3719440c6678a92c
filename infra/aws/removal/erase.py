"""Delete the data that a deleted stack leaves: tables, the archive with every version, logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from botocore.exceptions import ClientError

from infra.aws.stacks.following import DeployError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

_KCL_TABLES: Final = ("", "-CoordinatorState", "-WorkerMetricStats")
_WAIT: Final[Any] = {"Delay": 1, "MaxAttempts": 600}


class LogGroups(Protocol):
    """The one call of CloudWatch Logs that this module needs."""

    def delete_log_group(self, *, logGroupName: str) -> Any:
        """As ``boto3``'s."""


def delete_data(
    dynamodb: DynamoDBClient,
    s3: S3Client,
    logs: LogGroups,
    *,
    tables: Sequence[str],
    prefix: str,
    bucket: str,
    log_groups: Sequence[str],
) -> Iterator[str]:
    """Delete what a deleted stack leaves: its tables, the KCL's own (``prefix`` is the KCL
    application), the archive with every version, and log groups. Yields what is gone.

    :raises DeployError: when objects of the archive cannot be deleted.
    """
    for table in [*tables, *(prefix + suffix for suffix in _KCL_TABLES)]:
        if _delete_table(dynamodb, table):
            yield f"table {table}"
    if empty_bucket(s3, bucket):
        s3.delete_bucket(Bucket=bucket)
        yield f"bucket {bucket}"
    for group in log_groups:
        if _delete_log_group(logs, group):
            yield f"log group {group}"


def _delete_log_group(logs: LogGroups, name: str) -> bool:
    try:
        logs.delete_log_group(logGroupName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return False
        raise
    return True


def _delete_table(dynamodb: DynamoDBClient, table: str) -> bool:
    """Delete a table, protected or not, and wait until it is gone; ``False`` if there is none."""
    try:
        described = dynamodb.describe_table(TableName=table)["Table"]
        if described.get("DeletionProtectionEnabled"):
            dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
            dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig=_WAIT)
        dynamodb.delete_table(TableName=table)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return False
        raise
    dynamodb.get_waiter("table_not_exists").wait(TableName=table, WaiterConfig=_WAIT)
    return True


def empty_bucket(s3: S3Client, bucket: str, prefix: str = "") -> bool:
    """Delete every version of every object under a prefix; ``False`` when there is no such bucket.

    :raises DeployError: when one of them cannot be deleted.
    """
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            doomed: Any = [{"Key": o["Key"], "VersionId": o["VersionId"]} for o in found]
            if not doomed:
                continue
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
            for error in answer.get("Errors", []):  # a 200 with failures inside
                raise DeployError(f"S3 keeps {bucket}/{error['Key']}: {error['Message']}")
    except ClientError as refused:
        if refused.response["Error"]["Code"] in ("NoSuchBucket", "404"):
            return False
        raise
    return True
