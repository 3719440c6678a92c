"""What a stack's status allows, and what mends a broken one.

Sources, CloudFormation user guide: "Stack status codes"
(https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html), "Continue
rolling back an update"
(https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-continueupdaterollback.html),
"Troubleshooting" (https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Step(Enum):
    """What a deployment does with a stack before its own change."""

    CREATE = auto()
    """There is none: create it."""
    UPDATE = auto()
    """It is whole: update it."""
    WAIT = auto()
    """Another operation is at work: wait for its end, then look again."""
    DELETE = auto()
    """Its creation failed. It can only be deleted, and what holds data stays: then create it."""
    CONTINUE_ROLLBACK = auto()
    """The rollback of an update failed: continue it, then update."""
    REFUSE = auto()
    """A person has to act first; :func:`remedy` says how."""


_STEPS: Final = {
    "REVIEW_IN_PROGRESS": Step.CREATE,  # a first change set that was never executed
    "DELETE_COMPLETE": Step.CREATE,
    "CREATE_COMPLETE": Step.UPDATE,
    "UPDATE_COMPLETE": Step.UPDATE,
    "UPDATE_FAILED": Step.UPDATE,
    "UPDATE_ROLLBACK_COMPLETE": Step.UPDATE,
    "IMPORT_COMPLETE": Step.UPDATE,
    "IMPORT_ROLLBACK_COMPLETE": Step.UPDATE,
    "CREATE_FAILED": Step.DELETE,
    "ROLLBACK_COMPLETE": Step.DELETE,
    "ROLLBACK_FAILED": Step.DELETE,
    "UPDATE_ROLLBACK_FAILED": Step.CONTINUE_ROLLBACK,
}


def next_step(status: str | None) -> Step:
    """What a deployment does with a stack in this status; ``None`` is a stack that never was."""
    if status is None:
        return Step.CREATE
    if status in _STEPS:
        return _STEPS[status]
    return Step.WAIT if status.endswith("_IN_PROGRESS") else Step.REFUSE


def remedy(stack: str, status: str) -> str:
    """What a person has to do about a stack that is refused, or that could not be mended."""
    if status == "DELETE_FAILED":
        return (
            f"stack {stack} is {status}: an earlier `penstock destroy` did not come to its end. "
            "Run it again, it goes on where it was; then deploy"
        )
    if status == "UPDATE_ROLLBACK_FAILED":
        return (
            f"stack {stack} is {status}: mend what the resource above asks for and deploy again; "
            "or let CloudFormation skip it: `aws cloudformation continue-update-rollback "
            f"--stack-name {stack} --resources-to-skip RESOURCE`, and then deploy"
        )
    return (
        f"stack {stack} is {status}, which Penstock does not know: look at its events in "
        "CloudFormation, bring it to a complete state there, then deploy again"
    )
