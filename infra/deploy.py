"""Deploy the template by change set, and take it away again, telling what happens as it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import ClientError, WaiterError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

TEMPLATE: Final = Path(__file__).parent / "templates" / "pipeline.yaml"
TIMEOUT_S: Final = 1800.0
_CHANGE_SET: Final = "penstock"
_NOTHING_TO_DO: Final = ("didn't contain changes", "No updates are to be performed")
_BROKEN: Final = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"})


class Event(NamedTuple):
    """One step of CloudFormation's work."""

    resource: str
    status: str
    reason: str


class DeployError(Exception):
    """CloudFormation cannot do it; the text names the resource and the reason."""


def deploy(
    cfn: CloudFormationClient,
    stack: str,
    parameters: Mapping[str, str],
    *,
    on_event: Callable[[Event], None],
    interval: float = 2.0,
) -> dict[str, str]:
    """Create or update the stack by change set, and return its outputs.

    Parameters that are not named keep their value of the last deployment. An unchanged stack
    is a success. ``interval`` is the time between polls (s).

    :raises DeployError: with the first failed resource and its reason.
    """
    status = stack_status(cfn, stack)
    if status in _BROKEN:
        raise DeployError(
            f"stack {stack} is {status} from an earlier failure: `penstock destroy` it first"
        )
    exists = status not in (None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE")
    if _prepare(cfn, stack, parameters, exists=exists, interval=interval):
        seen = {str(event["EventId"]) for event in _events(cfn, stack)}
        cfn.execute_change_set(StackName=stack, ChangeSetName=_CHANGE_SET)
        _follow(cfn, stack, seen, on_event, interval)
    return outputs(cfn, stack)


def destroy(
    cfn: CloudFormationClient,
    stack: str,
    *,
    on_event: Callable[[Event], None],
    interval: float = 2.0,
) -> bool:
    """Delete the stack; ``False`` when there is none. Tables and bucket stay, with their data.

    :raises DeployError: with the first resource that could not be deleted.
    """
    if stack_status(cfn, stack) in (None, "DELETE_COMPLETE"):
        return False
    stack_id = cfn.describe_stacks(StackName=stack)["Stacks"][0]["StackId"]
    seen = {str(event["EventId"]) for event in _events(cfn, stack_id)}
    cfn.delete_stack(StackName=stack)
    _follow(cfn, stack_id, seen, on_event, interval)
    return True


def delete_data(
    dynamodb: DynamoDBClient, s3: S3Client, *, tables: list[str], prefix: str, bucket: str
) -> Iterator[str]:
    """Delete what a deleted stack leaves: its tables, the KCL's tables that begin with
    ``prefix``, and the archive with every version. Yields what is gone."""
    kcl = [
        name
        for page in dynamodb.get_paginator("list_tables").paginate()
        for name in page["TableNames"]
        if name == prefix or name.startswith(f"{prefix}-")
    ]
    for table in [*tables, *kcl]:
        try:
            dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
            dynamodb.delete_table(TableName=table)
        except dynamodb.exceptions.ResourceNotFoundException:
            continue
        yield f"table {table}"
    if _empty_bucket(s3, bucket):
        s3.delete_bucket(Bucket=bucket)
        yield f"bucket {bucket}"


def outputs(cfn: CloudFormationClient, stack: str) -> dict[str, str]:
    """The stack's outputs by name."""
    found = cfn.describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
    return {output["OutputKey"]: output["OutputValue"] for output in found}


def stack_status(cfn: CloudFormationClient, stack: str) -> str | None:
    """The stack's status, or ``None`` when there is none of that name."""
    try:
        return cfn.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def ensure_ttl(dynamodb: DynamoDBClient, table: str, attribute: str = "expires_at") -> bool:
    """Enable a table's time to live where the template's wish was not granted (the embedded
    AWS ignores it); ``False`` when it was."""
    known = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    if known.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
        return False
    dynamodb.update_time_to_live(
        TableName=table,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute},
    )
    return True


def _prepare(
    cfn: CloudFormationClient,
    stack: str,
    parameters: Mapping[str, str],
    *,
    exists: bool,
    interval: float,
) -> bool:
    """Make the change set; ``False`` when it would change nothing."""
    cfn.create_change_set(
        StackName=stack,
        ChangeSetName=_CHANGE_SET,
        ChangeSetType="UPDATE" if exists else "CREATE",
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=_parameters(cfn, stack, parameters, exists=exists),
        Tags=[{"Key": "project", "Value": "penstock"}],
    )
    try:
        cfn.get_waiter("change_set_create_complete").wait(
            StackName=stack,
            ChangeSetName=_CHANGE_SET,
            WaiterConfig={"Delay": interval, "MaxAttempts": 300},  # type: ignore[typeddict-item]
        )
    except WaiterError:
        described = cfn.describe_change_set(StackName=stack, ChangeSetName=_CHANGE_SET)
        cfn.delete_change_set(StackName=stack, ChangeSetName=_CHANGE_SET)
        reason = described.get("StatusReason", "no reason given")
        if any(text in reason for text in _NOTHING_TO_DO):
            return False
        raise DeployError(f"CloudFormation refuses the change to {stack}: {reason}") from None
    return True


def _parameters(
    cfn: CloudFormationClient, stack: str, wanted: Mapping[str, str], *, exists: bool
) -> list[Any]:
    """The wanted values, and the former ones of an existing stack for all others."""
    given = [{"ParameterKey": k, "ParameterValue": v} for k, v in wanted.items()]
    if not exists:
        return given
    known = cfn.describe_stacks(StackName=stack)["Stacks"][0].get("Parameters", [])
    return given + [
        {"ParameterKey": p["ParameterKey"], "UsePreviousValue": True}
        for p in known
        if p["ParameterKey"] not in wanted
    ]


def _follow(
    cfn: CloudFormationClient,
    stack: str,
    seen: set[str],
    on_event: Callable[[Event], None],
    interval: float,
) -> None:
    """Report each new event until the stack rests.

    :raises DeployError: when it rests anywhere but where it was meant to.
    """
    failed: Event | None = None
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        status = stack_status(cfn, stack) or "DELETE_COMPLETE"
        for event in reversed(_events(cfn, stack)):
            if event["EventId"] in seen:
                continue
            seen.add(event["EventId"])
            step = _step(event)
            on_event(step)
            if failed is None and step.status.endswith("_FAILED"):
                failed = step
        if not status.endswith("_IN_PROGRESS"):
            if failed or "ROLLBACK" in status or status.endswith("_FAILED"):
                raise DeployError(_blame(stack, status, failed))
            return
        time.sleep(interval)
    raise DeployError(f"stack {stack} is still not done after {TIMEOUT_S:.0f} s; look at it in AWS")


def _blame(stack: str, status: str, failed: Event | None) -> str:
    if failed is None:
        return f"stack {stack} ended as {status}"
    return f"stack {stack} ended as {status}: {failed.resource}: {failed.reason}"


def _events(cfn: CloudFormationClient, stack: str) -> list[Any]:
    """The stack's events, newest first; none when it does not exist."""
    try:
        return list(cfn.describe_stack_events(StackName=stack)["StackEvents"])
    except ClientError:
        return []


def _step(event: Mapping[str, Any]) -> Event:
    return Event(
        event.get("LogicalResourceId", ""),
        event.get("ResourceStatus", ""),
        event.get("ResourceStatusReason", ""),
    )


def _empty_bucket(s3: S3Client, bucket: str) -> bool:
    """Delete every version of every object; ``False`` when there is no such bucket."""
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            doomed: Any = [{"Key": o["Key"], "VersionId": o["VersionId"]} for o in found]
            if doomed:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchBucket", "404"):
            return False
        raise
    return True
