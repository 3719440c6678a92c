"""Deploy the template by change set, and take it away again, telling what happens as it does."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import ClientError, WaiterError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient

TEMPLATE: Final = Path(__file__).parents[1] / "templates" / "pipeline.yaml"
TIMEOUT_S: Final = 1800.0
_NOTHING_TO_DO: Final = ("didn't contain changes", "No updates are to be performed")
_BROKEN: Final = frozenset(
    {"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"}
)
"""What the KCL appends to its application's name. Never a prefix: the tables of a stack named
``<stack>-worker`` begin with it too."""


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
    if why := refusal(stack, status):
        raise DeployError(why)
    exists = status not in (None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE")
    change_set = _prepare(cfn, stack, parameters, exists=exists, interval=interval)
    if change_set is not None:
        seen = {str(event["EventId"]) for event in _events(cfn, stack)}
        cfn.execute_change_set(StackName=stack, ChangeSetName=change_set)
        _follow(cfn, stack, seen, on_event, interval)
    return outputs(cfn, stack)


def refusal(stack: str, status: str | None) -> str | None:
    """Why a stack in this state cannot be deployed to, and what to do; ``None`` when it can.

    ``REVIEW_IN_PROGRESS`` is a stack whose first change set was never executed: it can.
    """
    if status in _BROKEN:
        return f"stack {stack} is {status} from an earlier failure: `penstock destroy` it first"
    if status == "UPDATE_ROLLBACK_FAILED":
        return f"stack {stack} is {status}: continue its rollback in CloudFormation first"
    if status and status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        return f"stack {stack} is busy ({status}): wait until it is done, then deploy again"
    return None


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
) -> str | None:
    """Make a change set and return its name; ``None`` when it would change nothing.

    Each has a name of its own, so that one which an interrupted deployment left is not in the
    way of the next.
    """
    change_set = f"penstock-{uuid.uuid4().hex}"
    cfn.create_change_set(
        StackName=stack,
        ChangeSetName=change_set,
        ChangeSetType="UPDATE" if exists else "CREATE",
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=_parameters(cfn, stack, parameters, exists=exists),
        Tags=[{"Key": "project", "Value": "penstock"}],
    )
    try:
        cfn.get_waiter("change_set_create_complete").wait(
            StackName=stack,
            ChangeSetName=change_set,
            WaiterConfig={"Delay": interval, "MaxAttempts": 300},  # type: ignore[typeddict-item]
        )
    except WaiterError:
        described = cfn.describe_change_set(StackName=stack, ChangeSetName=change_set)
        cfn.delete_change_set(StackName=stack, ChangeSetName=change_set)
        reason = described.get("StatusReason", "no reason given")
        if any(text in reason for text in _NOTHING_TO_DO):
            return None
        why = _validation(cfn, stack, reason) or reason
        raise DeployError(f"CloudFormation refuses the change to {stack}: {why}") from None
    return change_set


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

    It rests only after something new happened: right after the request, the status may still
    be that of the last deployment. Its last events are read after its last status.

    :raises DeployError: when it rests anywhere but where it was meant to.
    """
    failed: Event | None = None
    started, rests, status = False, False, ""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for step in _new_steps(cfn, stack, seen):
            started = True
            on_event(step)
            if failed is None and step.status.endswith("_FAILED"):
                failed = step
        if rests:
            if failed or "ROLLBACK" in status or status.endswith("_FAILED"):
                raise DeployError(_blame(cfn, stack, status, failed))
            return
        status = stack_status(cfn, stack) or "DELETE_COMPLETE"
        rests = status == "DELETE_COMPLETE" or (started and not status.endswith("_IN_PROGRESS"))
        if not rests:
            time.sleep(interval)
    raise DeployError(f"stack {stack} is still not done after {TIMEOUT_S:.0f} s; look at it in AWS")


def _new_steps(cfn: CloudFormationClient, stack: str, seen: set[str]) -> Iterator[Event]:
    """The events that are not in ``seen``, oldest first; they are from now on."""
    for event in reversed(_events(cfn, stack)):
        if event["EventId"] not in seen:
            seen.add(event["EventId"])
            yield _step(event)


def _blame(cfn: CloudFormationClient, stack: str, status: str, failed: Event | None) -> str:
    if failed is None:
        return f"stack {stack} ended as {status}"
    why = _validation(cfn, stack, failed.reason) or f"{failed.resource}: {failed.reason}"
    return f"stack {stack} ended as {status}: {why}"


def _validation(cfn: CloudFormationClient, stack: str, reason: str) -> str | None:
    """What CloudFormation found before it began, such as a name that is taken; it tells that by
    ``DescribeEvents`` only, and says so in ``reason``."""
    if "DescribeEvents" not in reason:
        return None
    for event in cfn.describe_events(StackName=stack)["OperationEvents"]:
        if event.get("EventType") == "VALIDATION_ERROR":
            return f"{event['LogicalResourceId']}: {event.get('ValidationStatusReason', reason)}"
    return None


def _events(cfn: CloudFormationClient, stack: str) -> list[Any]:
    """The stack's events, newest first; none when it does not exist."""
    try:
        return list(cfn.describe_stack_events(StackName=stack)["StackEvents"])
    except ClientError as error:
        if "does not exist" in str(error):
            return []
        raise


def _step(event: Mapping[str, Any]) -> Event:
    return Event(
        event.get("LogicalResourceId", ""),
        event.get("ResourceStatus", ""),
        event.get("ResourceStatusReason", ""),
    )
