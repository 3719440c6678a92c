"""What a deployment decides and tells, against a CloudFormation that is played."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from infra.aws.cloudformation import (
    DeployError,
    Event,
    deploy,
    destroy,
    ensure_ttl,
    refusal,
)
from infra.aws.erase import delete_data


class Cfn:
    """Plays one stack: ``polls`` are what each look sees, (status, events that are new then)."""

    def __init__(self, status: str | None = None, refuses: str = "") -> None:
        self.status = status
        self.refuses = refuses
        self.polls: list[tuple[str | None, list[tuple[str, str, str]]]] = []
        self.events: list[dict[str, str]] = []
        self.validation: list[dict[str, str]] = []
        self.created: dict[str, Any] = {}
        self.deleted: list[str] = []
        self.running = False

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:
        if self.status is None:
            raise ClientError({"Error": {"Message": f"{StackName} does not exist"}}, "D")
        parameters = [{"ParameterKey": "ShardCount"}, {"ParameterKey": "RetentionHours"}]
        outputs = [{"OutputKey": "StreamName", "OutputValue": "s"}]
        stack = {"StackId": "id", "StackStatus": self.status}
        return {"Stacks": [{**stack, "Parameters": parameters, "Outputs": outputs}]}

    def describe_stack_events(self, *, StackName: str) -> dict[str, Any]:
        if self.running and self.polls:
            self.status, new = self.polls.pop(0)
            for resource, status, reason in new:
                self.happened(resource, status, reason)
        return {"StackEvents": list(reversed(self.events))}

    def happened(self, resource: str, status: str, reason: str = "") -> None:
        event = {"EventId": str(len(self.events)), "LogicalResourceId": resource}
        self.events.append({**event, "ResourceStatus": status, "ResourceStatusReason": reason})

    def create_change_set(self, **arguments: Any) -> None:
        self.created = arguments

    def get_waiter(self, _: str) -> Cfn:
        return self

    def wait(self, **_: Any) -> None:
        if self.refuses:
            raise WaiterError("change_set_create_complete", "failed", {})

    def describe_change_set(self, **_: Any) -> dict[str, str]:
        return {"StatusReason": self.refuses}

    def delete_change_set(self, *, StackName: str, ChangeSetName: str) -> None:
        self.deleted.append(ChangeSetName)

    def execute_change_set(self, **_: Any) -> None:
        self.running = True

    def delete_stack(self, **_: Any) -> None:
        self.running = True

    def describe_events(self, **_: Any) -> dict[str, Any]:
        return {"OperationEvents": self.validation}


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
    ]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("ROLLBACK_COMPLETE", "destroy"),
        ("CREATE_FAILED", "destroy"),
        ("DELETE_FAILED", "destroy"),
        ("UPDATE_ROLLBACK_FAILED", "continue its rollback"),
        ("UPDATE_IN_PROGRESS", "wait until it is done"),
        ("DELETE_IN_PROGRESS", "wait until it is done"),
    ],
)
def test_a_stack_that_cannot_be_deployed_to_is_said_with_its_remedy(
    status: str, remedy: str
) -> None:
    assert remedy in str(refusal("penstock", status))
    with pytest.raises(DeployError, match=f"penstock is .*{status}"):
        _deploy(Cfn(status))


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


class Tables:
    """Tables by name, and whether they are protected."""

    def __init__(self, **tables: bool) -> None:
        self.tables = {name.replace("_", "-"): held for name, held in tables.items()}
        self.ttl = "DISABLED"

    def describe_table(self, *, TableName: str) -> dict[str, Any]:
        if TableName not in self.tables:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeTable")
        return {"Table": {"DeletionProtectionEnabled": self.tables[TableName]}}

    def update_table(self, *, TableName: str, DeletionProtectionEnabled: bool) -> None:
        assert self.tables[TableName] is not DeletionProtectionEnabled
        self.tables[TableName] = DeletionProtectionEnabled

    def delete_table(self, *, TableName: str) -> None:
        assert not self.tables.pop(TableName), "it is protected"

    def get_waiter(self, _: str) -> Tables:
        return self

    def wait(self, **_: Any) -> None:
        """Everything happens at once here."""

    def describe_time_to_live(self, *, TableName: str) -> dict[str, Any]:
        return {"TimeToLiveDescription": {"TimeToLiveStatus": self.ttl}}

    def update_time_to_live(self, *, TableName: str, TimeToLiveSpecification: Any) -> None:
        assert TimeToLiveSpecification == {"Enabled": True, "AttributeName": "expires_at"}
        self.ttl = "ENABLING"


class Bucket:
    """A bucket of pages of versions; ``errors`` is what S3 answers to a deletion."""

    def __init__(self, pages: list[Any], errors: list[Any] | None = None) -> None:
        self.pages, self.errors = pages, errors or []
        self.doomed: list[Any] = []
        self.gone = False

    def get_paginator(self, _: str) -> Bucket:
        return self

    def paginate(self, *, Bucket: str) -> Iterator[Any]:
        yield from self.pages

    def delete_objects(self, *, Bucket: str, Delete: Any) -> dict[str, Any]:
        self.doomed += Delete["Objects"]
        return {"Errors": self.errors}

    def delete_bucket(self, *, Bucket: str) -> None:
        self.gone = True


def _delete(tables: Any, bucket: Any) -> list[str]:
    names = ["p-windows", "p-devices"]
    return list(delete_data(tables, bucket, tables=names, prefix="p-worker", bucket="b"))


def test_deleting_the_data_takes_protection_off_and_leaves_neighbours_alone() -> None:
    tables = Tables(p_windows=True, p_worker=False, p_worker_windows=True, p_worker_x=False)
    assert _delete(tables, Bucket([])) == ["table p-windows", "table p-worker", "bucket b"]
    assert set(tables.tables) == {"p-worker-windows", "p-worker-x"}


def test_every_version_goes_before_the_bucket() -> None:
    one, two = ({"Key": "k", "VersionId": v} for v in "12")
    bucket = Bucket([{"Versions": [one], "DeleteMarkers": [two]}, {}])
    assert _delete(Tables(), bucket) == ["bucket b"]
    assert bucket.doomed == [one, two]


def test_an_object_that_s3_keeps_is_named_and_the_bucket_stays() -> None:
    one = {"Key": "k", "VersionId": "1"}
    bucket = Bucket([{"Versions": [one]}], errors=[{"Key": "k", "Message": "locked"}])
    with pytest.raises(DeployError, match="S3 keeps b/k: locked"):
        _delete(Tables(), bucket)
    assert not bucket.gone


def test_time_to_live_is_asked_for_only_where_it_is_missing() -> None:
    tables: Any = Tables()
    assert ensure_ttl(tables, "p-windows")
    assert not ensure_ttl(tables, "p-windows")
