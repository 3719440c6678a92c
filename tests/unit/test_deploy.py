"""What a deployment decides and tells, against a CloudFormation that is played."""

from __future__ import annotations

from typing import Any

import pytest

from infra.aws.stacks.cloudformation import deploy, destroy, plan
from infra.aws.stacks.following import DeployError, Event
from infra.aws.stacks.stack_states import Step, next_step, remedy
from tests.harness.cloudformation import Cfn


def _deploy(cfn: Any, **parameters: str) -> list[Event]:
    told: list[Event] = []
    deploy(cfn, "penstock", parameters, on_event=told.append, interval=0)
    return told


def test_each_event_is_told_once_oldest_first_and_old_ones_never() -> None:
    cfn = Cfn("UPDATE_COMPLETE")
    cfn.happened("Old", "CREATE_COMPLETE")
    cfn.polls = [
        ("UPDATE_COMPLETE", []),  # the look that learns what is old
        ("UPDATE_IN_PROGRESS", [("A", "UPDATE_IN_PROGRESS", ""), ("A", "UPDATE_COMPLETE", "")]),
        ("UPDATE_COMPLETE", [("penstock", "UPDATE_COMPLETE", "")]),
    ]
    told = [(event.resource, event.status) for event in _deploy(cfn)]
    assert told == [
        ("A", "UPDATE_IN_PROGRESS"),
        ("A", "UPDATE_COMPLETE"),
        ("penstock", "UPDATE_COMPLETE"),
    ]


def test_the_status_of_the_last_deployment_is_not_taken_for_the_end_of_this_one() -> None:
    cfn = Cfn("UPDATE_ROLLBACK_COMPLETE")
    cfn.polls = [
        ("UPDATE_ROLLBACK_COMPLETE", []),
        ("UPDATE_ROLLBACK_COMPLETE", []),
        ("UPDATE_IN_PROGRESS", [("A", "UPDATE_IN_PROGRESS", "")]),
        ("UPDATE_COMPLETE", [("A", "UPDATE_COMPLETE", "")]),
    ]
    assert len(_deploy(cfn)) == 2


def test_the_first_failure_is_the_one_that_is_named() -> None:
    cfn = Cfn()
    cfn.polls = [
        ("CREATE_IN_PROGRESS", [("Stream", "CREATE_FAILED", "limit exceeded")]),
        ("ROLLBACK_COMPLETE", [("Table", "CREATE_FAILED", "cancelled")]),
    ]
    with pytest.raises(DeployError, match="ended as ROLLBACK_COMPLETE: Stream: limit exceeded"):
        _deploy(cfn)


def test_what_is_told_by_describe_events_only_is_looked_up() -> None:
    conflict = {"EventType": "VALIDATION_ERROR", "LogicalResourceId": "ArchiveBucket"}
    cfn = Cfn(refuses="Early validation failed. Call DescribeEvents to learn why.")
    cfn.validation = [{**conflict, "ValidationStatusReason": "the bucket exists"}]
    with pytest.raises(DeployError, match=r"refuses the change.*ArchiveBucket: the bucket exists"):
        _deploy(cfn)


def test_a_change_set_without_changes_is_a_success_and_is_removed() -> None:
    cfn = Cfn("CREATE_COMPLETE", refuses="The submitted information didn't contain changes.")
    assert _deploy(cfn) == []
    assert cfn.deleted == [cfn.created["ChangeSetName"]]
    assert not cfn.running


def test_every_change_set_has_a_name_of_its_own() -> None:
    cfn = Cfn("CREATE_COMPLETE", refuses="No updates are to be performed.")
    _deploy(cfn)
    _deploy(cfn)
    assert len(set(cfn.deleted)) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [(None, "CREATE"), ("REVIEW_IN_PROGRESS", "CREATE"), ("UPDATE_ROLLBACK_COMPLETE", "UPDATE")],
)
def test_a_stack_that_never_was_is_created_and_another_updated(
    status: str | None, kind: str
) -> None:
    cfn = Cfn(status, refuses="something else")
    with pytest.raises(DeployError, match="refuses the change to penstock: something else"):
        _deploy(cfn)
    assert cfn.created["ChangeSetType"] == kind


def test_parameters_that_are_not_named_are_those_of_before() -> None:
    cfn = Cfn("CREATE_COMPLETE", refuses="didn't contain changes")
    _deploy(cfn, ShardCount="4")
    assert cfn.created["Parameters"] == [
        {"ParameterKey": "ShardCount", "ParameterValue": "4"},
        {"ParameterKey": "RetentionHours", "UsePreviousValue": True},
        {"ParameterKey": "DeletionProtection", "UsePreviousValue": True},
    ]


def test_a_parameter_that_a_newer_template_dropped_is_left_out() -> None:
    cfn = Cfn("CREATE_COMPLETE", refuses="didn't contain changes")
    cfn.parameters["Bygone"] = "1"
    _deploy(cfn)
    assert "Bygone" not in {one["ParameterKey"] for one in cfn.created["Parameters"]}


def test_tables_are_protected_after_their_creation_and_never_during_it() -> None:
    cfn = Cfn()
    cfn.polls = [
        ("CREATE_IN_PROGRESS", [("Table", "CREATE_IN_PROGRESS", "")]),
        ("CREATE_COMPLETE", [("penstock", "CREATE_COMPLETE", "")]),
        ("CREATE_COMPLETE", []),
        ("CREATE_COMPLETE", []),
        ("UPDATE_IN_PROGRESS", [("Table", "UPDATE_IN_PROGRESS", "")]),
        ("UPDATE_COMPLETE", [("penstock", "UPDATE_COMPLETE", "")]),
    ]
    _deploy(cfn)
    assert [_protection(made) for made in cfn.made] == ["pending", "true"]


def test_a_protection_that_an_interruption_left_pending_comes_with_the_next_deployment() -> None:
    cfn = Cfn("CREATE_COMPLETE", refuses="didn't contain changes")
    cfn.parameters["DeletionProtection"] = "pending"
    _deploy(cfn)
    assert _protection(cfn.created) == "true"


@pytest.mark.parametrize("protection", ["true", "false"])
def test_the_stack_refuses_to_be_deleted_by_others_as_its_tables_do(protection: str) -> None:
    cfn = Cfn("CREATE_COMPLETE", refuses="didn't contain changes")
    cfn.protected = protection != "true"
    cfn.parameters["DeletionProtection"] = protection
    _deploy(cfn)
    assert cfn.protected is (protection == "true")


def _protection(made: dict[str, Any]) -> str | None:
    return next(
        (p.get("ParameterValue") for p in made["Parameters"]
         if p["ParameterKey"] == "DeletionProtection"), None,
    )  # fmt: skip


REPLACED = {"ResourceChange": {"Action": "Modify", "LogicalResourceId": "Role",
            "ResourceType": "AWS::IAM::Role", "Replacement": "True"}}  # fmt: skip
ADDED = {"ResourceChange": {"Action": "Add", "LogicalResourceId": "Queue",
         "ResourceType": "AWS::SQS::Queue"}}  # fmt: skip


def test_a_plan_lists_what_destroys_first_and_leaves_no_change_set() -> None:
    cfn: Any = Cfn("CREATE_COMPLETE")
    cfn.changes = [ADDED, REPLACED]
    planned = plan(cfn, "penstock", {}, interval=0)
    assert [(one.action, one.resource, one.replacement) for one in planned] == [
        ("Modify", "Role", "True"),
        ("Add", "Queue", ""),
    ]
    assert [one.destroys for one in planned] == [True, False]
    assert cfn.deleted == [cfn.created["ChangeSetName"]]
    assert not cfn.running


def test_a_plan_of_a_new_stack_leaves_no_empty_stack() -> None:
    cfn: Any = Cfn()
    cfn.changes = [ADDED]
    assert len(plan(cfn, "penstock", {}, interval=0)) == 1
    assert (len(cfn.deleted), cfn.deletions) == (1, 1)


def test_changes_that_are_not_approved_are_not_executed() -> None:
    cfn: Any = Cfn("CREATE_COMPLETE")
    cfn.changes = [REPLACED]

    def refuse(changes: Any) -> None:
        raise PermissionError(str(changes[0]))

    with pytest.raises(PermissionError, match=r"replace Role \(AWS::IAM::Role\)"):
        deploy(cfn, "penstock", {}, on_event=lambda _: None, approve=refuse, interval=0)
    assert cfn.deleted == [cfn.created["ChangeSetName"]]
    assert not cfn.running


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (None, Step.CREATE),
        ("REVIEW_IN_PROGRESS", Step.CREATE),
        ("UPDATE_ROLLBACK_COMPLETE", Step.UPDATE),
        ("UPDATE_FAILED", Step.UPDATE),
        ("ROLLBACK_COMPLETE", Step.DELETE),
        ("ROLLBACK_FAILED", Step.DELETE),
        ("CREATE_FAILED", Step.DELETE),
        ("UPDATE_ROLLBACK_FAILED", Step.CONTINUE_ROLLBACK),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Step.WAIT),
        ("DELETE_IN_PROGRESS", Step.WAIT),
        ("DELETE_FAILED", Step.REFUSE),
        ("NEVER_HEARD_OF", Step.REFUSE),
    ],
)
def test_each_status_has_its_step(status: str | None, step: Step) -> None:
    assert next_step(status) is step


@pytest.mark.parametrize(
    ("status", "what"),
    [
        ("DELETE_FAILED", "`penstock destroy` did not come to its end. Run it again"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name penstock"),
        ("NEVER_HEARD_OF", "bring it to a complete state there"),
    ],
)
def test_a_stack_that_needs_a_person_is_said_with_its_remedy(status: str, what: str) -> None:
    assert what in remedy("penstock", status)
    if next_step(status) is Step.REFUSE:
        with pytest.raises(DeployError, match=f"penstock is .*{status}"):
            _deploy(Cfn(status))


def test_a_stack_whose_creation_failed_is_deleted_and_made_again() -> None:
    cfn = Cfn("ROLLBACK_COMPLETE")
    cfn.protected = False
    cfn.polls = [
        ("DELETE_IN_PROGRESS", [("Table", "DELETE_SKIPPED", "")]),
        ("DELETE_COMPLETE", [("penstock", "DELETE_COMPLETE", "")]),
        ("DELETE_COMPLETE", []),
        ("CREATE_IN_PROGRESS", [("Table", "CREATE_IN_PROGRESS", "")]),
        ("CREATE_COMPLETE", [("penstock", "CREATE_COMPLETE", "")]),
    ]
    told = _deploy(cfn, DeletionProtection="false")
    assert told[0] == Event(
        "penstock", "ROLLBACK_COMPLETE", "its creation failed: what is left is deleted first"
    )
    assert [made["ChangeSetType"] for made in cfn.made] == ["CREATE"]
    assert cfn.deletions == 1


def test_a_rollback_that_failed_is_continued_and_says_what_to_do_when_it_fails_again() -> None:
    cfn = Cfn("UPDATE_ROLLBACK_FAILED")
    cfn.polls = [
        ("UPDATE_ROLLBACK_FAILED", []),
        ("UPDATE_ROLLBACK_IN_PROGRESS", [("Table", "UPDATE_FAILED", "still locked")]),
        ("UPDATE_ROLLBACK_FAILED", [("penstock", "UPDATE_ROLLBACK_FAILED", "Table")]),
    ]
    with pytest.raises(DeployError, match=r"Table: still locked.*--resources-to-skip RESOURCE"):
        _deploy(cfn)
    mended = Cfn("UPDATE_ROLLBACK_FAILED")
    mended.polls = [
        ("UPDATE_ROLLBACK_FAILED", []),
        ("UPDATE_ROLLBACK_IN_PROGRESS", [("Table", "UPDATE_COMPLETE", "")]),
        ("UPDATE_ROLLBACK_COMPLETE", [("penstock", "UPDATE_ROLLBACK_COMPLETE", "")]),
        ("UPDATE_ROLLBACK_COMPLETE", []),
        ("UPDATE_IN_PROGRESS", [("Table", "UPDATE_IN_PROGRESS", "")]),
        ("UPDATE_COMPLETE", [("penstock", "UPDATE_COMPLETE", "")]),
    ]
    mended.running = True
    _deploy(mended)
    assert [made["ChangeSetType"] for made in mended.made] == ["UPDATE"]


def test_a_deployment_waits_for_the_one_that_is_at_work() -> None:
    cfn = Cfn("UPDATE_IN_PROGRESS", refuses="didn't contain changes")
    cfn.running = True
    cfn.polls = [
        ("UPDATE_IN_PROGRESS", []),
        ("UPDATE_COMPLETE", [("Table", "UPDATE_COMPLETE", "")]),
    ]
    assert "waiting for its end" in _deploy(cfn)[0].reason
    assert len(cfn.made) == 1


@pytest.mark.parametrize("status", [None, "DELETE_COMPLETE"])
def test_there_is_nothing_to_destroy_without_a_stack(status: str | None) -> None:
    cfn: Any = Cfn(status)
    assert not destroy(cfn, "penstock", on_event=lambda _: None)
    assert not cfn.running


def test_a_resource_that_cannot_be_deleted_is_named() -> None:
    cfn: Any = Cfn("CREATE_COMPLETE")
    cfn.polls = [
        ("CREATE_COMPLETE", []),
        ("DELETE_FAILED", [("DevicePolicy", "DELETE_FAILED", "attached to a certificate")]),
    ]
    cfn.running = True
    with pytest.raises(DeployError, match="DevicePolicy: attached to a certificate"):
        destroy(cfn, "penstock", on_event=lambda _: None, interval=0)
