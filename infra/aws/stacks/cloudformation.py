"""Deploy the template by change set, and delete the stack again, telling each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.aws.stacks import change_sets
from infra.aws.stacks.changes import Change
from infra.aws.stacks.following import (
    DeployError,
    Event,
    OnEvent,
    await_rest,
    event_ids,
    follow,
    stack_status,
)
from infra.aws.stacks.stack_states import Step, next_step, remedy
from infra.aws.stacks.template import TEMPLATE

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient

PROTECTION: Final = "DeletionProtection"
PENDING: Final = "pending"
"""The value of :data:`PROTECTION` during a stack's creation: a protected table could not be deleted
by the rollback of a creation that fails, which would end as ``ROLLBACK_FAILED``."""

Approve = Callable[[Sequence[Change]], None]
"""Looks at the changes before they are executed, and raises when they must not be."""


def deploy(
    cfn: CloudFormationClient,
    stack: str,
    parameters: Mapping[str, str],
    *,
    on_event: OnEvent,
    approve: Approve = lambda _: None,
    account: str | None = None,
    interval: float = 2.0,
    template: Path = TEMPLATE,
) -> dict[str, str]:
    """Create or update the stack by change set, and return its outputs.

    Parameters that are not named keep their value of the last deployment. An unchanged stack
    is a success. A stack that an earlier failure broke is mended first, where that can be done
    without a loss. Deletion protection comes after a creation, and with it the stack's
    termination protection. With ``account``, what an earlier stack left is taken over.
    ``interval`` is the time between polls (s).

    :raises DeployError: with the first failed resource and its reason, or with what to do.
    """
    exists = _mend(cfn, stack, on_event, interval)
    if template != TEMPLATE:  # it holds no data, so there is nothing to protect
        _change(cfn, stack, parameters, exists, on_event, approve, account, interval, template)
        return outputs(cfn, stack)
    wanted = _wanted(cfn, stack, parameters, exists=exists)
    _change(cfn, stack, wanted, exists, on_event, approve, account, interval)
    if wanted.get(PROTECTION) == PENDING:
        _change(cfn, stack, {PROTECTION: "true"}, True, on_event, approve, account, interval)
    _protect_stack(cfn, stack, change_sets.previous_parameters(cfn, stack).get(PROTECTION))
    return outputs(cfn, stack)


def plan(
    cfn: CloudFormationClient,
    stack: str,
    parameters: Mapping[str, str],
    *,
    account: str | None = None,
    interval: float = 2.0,
    template: Path = TEMPLATE,
) -> Sequence[Change]:
    """What :func:`deploy` would change, without changing anything.

    :raises DeployError: when the stack must be mended first, or CloudFormation refuses.
    """
    status = stack_status(cfn, stack)
    step = next_step(status)
    if step not in (Step.CREATE, Step.UPDATE):
        raise DeployError(f"{_mending(stack, str(status), step)}; there is no plan before that")
    exists = step is Step.UPDATE
    if template == TEMPLATE:
        parameters = _wanted(cfn, stack, parameters, exists=exists)
    made = change_sets.make(
        cfn, stack, parameters, exists=exists, account=account, interval=interval, template=template
    )
    if made is None:
        return ()
    change_sets.discard(cfn, stack, made.name, exists=exists)
    return made.changes


def destroy(
    cfn: CloudFormationClient,
    stack: str,
    *,
    on_event: OnEvent,
    interval: float = 2.0,
) -> bool:
    """Delete the stack; ``False`` when there is none. Tables and bucket stay, with their data.

    It can be repeated when it failed, and goes on where it was. Termination protection ends here:
    it is against what is not Penstock.

    :raises DeployError: with the first resource that could not be deleted.
    """
    status = stack_status(cfn, stack)
    if next_step(status) is Step.WAIT:
        status = await_rest(cfn, stack, on_event, interval)
    if status in (None, "DELETE_COMPLETE"):
        return False
    described = cfn.describe_stacks(StackName=stack)["Stacks"][0]
    if described.get("EnableTerminationProtection"):
        cfn.update_termination_protection(StackName=stack, EnableTerminationProtection=False)
    stack_id = described["StackId"]
    seen = event_ids(cfn, stack_id)
    cfn.delete_stack(StackName=stack)
    follow(cfn, stack_id, seen, on_event, interval, good_ends=("DELETE_COMPLETE",))
    return True


def outputs(cfn: CloudFormationClient, stack: str) -> dict[str, str]:
    """The stack's outputs by name."""
    found = cfn.describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
    return {output["OutputKey"]: output["OutputValue"] for output in found}


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


def _mend(cfn: CloudFormationClient, stack: str, on_event: OnEvent, interval: float) -> bool:
    """Bring the stack to where it can be changed; whether it exists then.

    :raises DeployError: when a person has to act first.
    """
    status = stack_status(cfn, stack)
    if next_step(status) is Step.WAIT:
        on_event(Event(stack, str(status), "another deployment is at work: waiting for its end"))
        status = await_rest(cfn, stack, on_event, interval)
    step = next_step(status)
    if step is Step.REFUSE:
        raise DeployError(remedy(stack, str(status)))
    if step is Step.DELETE:
        on_event(Event(stack, str(status), "its creation failed: what is left is deleted first"))
        destroy(cfn, stack, on_event=on_event, interval=interval)
    elif step is Step.CONTINUE_ROLLBACK:
        on_event(Event(stack, str(status), "the rollback of the last update is continued first"))
        _continue_rollback(cfn, stack, on_event, interval)
    return step in (Step.UPDATE, Step.CONTINUE_ROLLBACK)


def _mending(stack: str, status: str, step: Step) -> str:
    if step is Step.REFUSE:
        return remedy(stack, status)
    if step is Step.WAIT:
        return f"stack {stack} is {status}: wait until it is done"
    return f"stack {stack} is {status}: `penstock deploy` mends it first"


def _continue_rollback(
    cfn: CloudFormationClient, stack: str, on_event: OnEvent, interval: float
) -> None:
    seen = event_ids(cfn, stack)
    cfn.continue_update_rollback(StackName=stack)
    try:
        follow(cfn, stack, seen, on_event, interval, good_ends=("UPDATE_ROLLBACK_COMPLETE",))
    except DeployError as error:
        raise DeployError(f"{error}. {remedy(stack, 'UPDATE_ROLLBACK_FAILED')}") from None


def _wanted(
    cfn: CloudFormationClient, stack: str, parameters: Mapping[str, str], *, exists: bool
) -> dict[str, str]:
    """The parameters with the value of :data:`PROTECTION` that is due: pending while the stack is
    created, and ``true`` once it has been, also when an interruption came between."""
    due = parameters.get(PROTECTION)
    if not exists and due in (None, "true"):
        due = PENDING
    elif due is None and change_sets.previous_parameters(cfn, stack).get(PROTECTION) == PENDING:
        due = "true"
    return {**parameters, **({PROTECTION: due} if due else {})}


def _change(
    cfn: CloudFormationClient, stack: str, parameters: Mapping[str, str], exists: bool,
    on_event: OnEvent, approve: Approve, account: str | None, interval: float,
    template: Path = TEMPLATE,
) -> None:  # fmt: skip
    made = change_sets.make(
        cfn, stack, parameters, exists=exists, account=account, interval=interval, template=template
    )
    if made is None:
        return
    try:
        approve(made.changes)
    except BaseException:
        change_sets.discard(cfn, stack, made.name, exists=exists)
        raise
    seen = event_ids(cfn, stack)
    cfn.execute_change_set(StackName=stack, ChangeSetName=made.name)
    follow(cfn, stack, seen, on_event, interval)


def _protect_stack(cfn: CloudFormationClient, stack: str, protection: str | None) -> None:
    """The stack refuses to be deleted by others just as its tables do."""
    wanted = protection == "true"
    described = cfn.describe_stacks(StackName=stack)["Stacks"][0]
    if described.get("EnableTerminationProtection", False) is not wanted:
        cfn.update_termination_protection(StackName=stack, EnableTerminationProtection=wanted)
