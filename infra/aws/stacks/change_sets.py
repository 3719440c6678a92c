"""Make a change set and say what it would do."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import WaiterError

from infra.aws.stacks.changes import Change, changes_of
from infra.aws.stacks.following import DeployError, validation_error
from infra.aws.stacks.template import TEMPLATE, with_fixed_names, without_comments

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

_NOTHING_TO_DO: Final = ("didn't contain changes", "No updates are to be performed")


class ChangeSet(NamedTuple):
    """A change set that can be executed."""

    name: str
    changes: Sequence[Change]


def make(
    cfn: CloudFormationClient,
    stack: str,
    parameters: Mapping[str, str],
    *,
    exists: bool,
    account: str | None,
    interval: float,
    template: Path = TEMPLATE,
) -> ChangeSet | None:
    """Make a change set; ``None`` when it would change nothing.

    Each has a name of its own, so that one which an interrupted deployment left is not in the
    way of the next. With ``account``, tables, buckets and log groups that an earlier stack left
    are taken over ("ImportExistingResources" of ``CreateChangeSet``,
    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html).

    :raises DeployError: when CloudFormation refuses the change.
    """
    name = f"penstock-{uuid.uuid4().hex}"
    text = without_comments(template.read_text())
    if account is not None:
        text = with_fixed_names(text, stack, account, cfn.meta.region_name)
    cfn.create_change_set(
        StackName=stack,
        ChangeSetName=name,
        ChangeSetType="UPDATE" if exists else "CREATE",
        TemplateBody=text,
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=_parameters(cfn, stack, parameters, text, exists=exists),
        ImportExistingResources=account is not None,
        Tags=[{"Key": "project", "Value": "penstock"}],
    )
    try:
        cfn.get_waiter("change_set_create_complete").wait(
            StackName=stack,
            ChangeSetName=name,
            WaiterConfig={"Delay": interval, "MaxAttempts": 300},  # type: ignore[typeddict-item]
        )
    except WaiterError:
        described = cfn.describe_change_set(StackName=stack, ChangeSetName=name)
        discard(cfn, stack, name, exists=True)
        reason = described.get("StatusReason", "no reason given")
        if any(text in reason for text in _NOTHING_TO_DO):
            return None
        why = validation_error(cfn, stack, reason) or reason
        _remove_placeholder(cfn, stack, exists=exists)
        raise DeployError(f"CloudFormation refuses the change to {stack}: {why}") from None
    return ChangeSet(name, _changes(cfn, stack, name))


def discard(cfn: CloudFormationClient, stack: str, name: str, *, exists: bool) -> None:
    """Delete a change set that is not executed, and the empty stack that it made if it was to
    create one."""
    cfn.delete_change_set(StackName=stack, ChangeSetName=name)
    _remove_placeholder(cfn, stack, exists=exists)


def _remove_placeholder(cfn: CloudFormationClient, stack: str, *, exists: bool) -> None:
    """Delete the stack in ``REVIEW_IN_PROGRESS`` that a first change set makes: it is empty."""
    if not exists:
        cfn.delete_stack(StackName=stack)


def previous_parameters(cfn: CloudFormationClient, stack: str) -> dict[str, str]:
    """The parameters of an existing stack, with their values."""
    known = cfn.describe_stacks(StackName=stack)["Stacks"][0].get("Parameters", [])
    return {one["ParameterKey"]: one.get("ParameterValue", "") for one in known}


def _parameters(
    cfn: CloudFormationClient, stack: str, wanted: Mapping[str, str], text: str, *, exists: bool
) -> list[Any]:
    """The wanted values, and the former ones of an existing stack for all others that the
    template still has: CloudFormation refuses a parameter that a template does not declare."""
    given = [{"ParameterKey": k, "ParameterValue": v} for k, v in wanted.items()]
    if not exists:
        return given
    summary = cfn.get_template_summary(TemplateBody=text)
    declared = {one["ParameterKey"] for one in summary.get("Parameters", [])}
    return given + [
        {"ParameterKey": name, "UsePreviousValue": True}
        for name in previous_parameters(cfn, stack)
        if name not in wanted and name in declared
    ]


def _changes(cfn: CloudFormationClient, stack: str, name: str) -> Sequence[Change]:
    described: list[Any] = []
    more: dict[str, str] = {}
    while True:
        page = cfn.describe_change_set(StackName=stack, ChangeSetName=name, **more)  # type: ignore[arg-type]
        described += page.get("Changes", [])
        if not (token := page.get("NextToken")):
            return changes_of(described)
        more = {"NextToken": token}
