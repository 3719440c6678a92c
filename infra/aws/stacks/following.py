"""Follow CloudFormation's work on a stack to its end, telling each step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

TIMEOUT_S: Final = 3600.0


class Event(NamedTuple):
    """One step of CloudFormation's work."""

    resource: str
    status: str
    reason: str


OnEvent = Callable[[Event], None]


class DeployError(Exception):
    """CloudFormation cannot do it; the text names the resource and the reason."""


def stack_status(cfn: CloudFormationClient, stack: str) -> str | None:
    """The stack's status, or ``None`` when there is none of that name."""
    try:
        return cfn.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def event_ids(cfn: CloudFormationClient, stack: str) -> set[str]:
    """The ids of the events so far, which are not told."""
    return {str(event["EventId"]) for event in _events(cfn, stack)}


def follow(
    cfn: CloudFormationClient,
    stack: str,
    seen: set[str],
    on_event: OnEvent,
    interval: float,
    *,
    good_ends: tuple[str, ...] = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"),
) -> None:
    """Report each new event until the stack rests.

    It rests only after something new happened: right after the request, the status may still
    be that of the last deployment. Its last events are read after its last status.

    :raises DeployError: when it rests at another status than ``good_ends``, or never.
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
            if status not in good_ends:
                raise DeployError(_blame(cfn, stack, status, failed))
            return
        status = stack_status(cfn, stack) or "DELETE_COMPLETE"
        rests = status == "DELETE_COMPLETE" or (started and not status.endswith("_IN_PROGRESS"))
        if not rests:
            time.sleep(interval)
    raise DeployError(
        f"stack {stack} is still not done after {TIMEOUT_S:.0f} s: look at it in CloudFormation, "
        "and run the same command again when it rests"
    )


def await_rest(
    cfn: CloudFormationClient, stack: str, on_event: OnEvent, interval: float
) -> str | None:
    """Wait for the end of an operation that somebody else began; the status then.

    :raises DeployError: when it does not end.
    """
    seen = event_ids(cfn, stack)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for step in _new_steps(cfn, stack, seen):
            on_event(step)
        status = stack_status(cfn, stack)
        if status is None or not status.endswith("_IN_PROGRESS"):
            return status
        time.sleep(interval)
    raise DeployError(f"stack {stack} is still busy: look at it in CloudFormation")


def validation_error(cfn: CloudFormationClient, stack: str, reason: str) -> str | None:
    """What CloudFormation found before it began, such as a name that is taken; it tells that by
    ``DescribeEvents`` only, and says so in ``reason``."""
    if "DescribeEvents" not in reason:
        return None
    for event in cfn.describe_events(StackName=stack)["OperationEvents"]:
        if event.get("EventType") == "VALIDATION_ERROR":
            return f"{event['LogicalResourceId']}: {event.get('ValidationStatusReason', reason)}"
    return None


def _new_steps(cfn: CloudFormationClient, stack: str, seen: set[str]) -> Iterator[Event]:
    """The events that are not in ``seen``, oldest first; they are from now on."""
    for event in reversed(_events(cfn, stack)):
        if event["EventId"] not in seen:
            seen.add(event["EventId"])
            yield _step(event)


def _blame(cfn: CloudFormationClient, stack: str, status: str, failed: Event | None) -> str:
    if failed is None:
        return f"stack {stack} ended as {status}"
    why = validation_error(cfn, stack, failed.reason) or f"{failed.resource}: {failed.reason}"
    return f"stack {stack} ended as {status}: {why}"


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
