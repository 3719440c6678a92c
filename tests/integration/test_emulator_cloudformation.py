"""CloudFormation in the embedded AWS fails on names that exist and on protected tables.

Sources: CloudFormation user guide, "DeletionPolicy attribute", "Troubleshooting"; DynamoDB
developer guide, "Deletion protection".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra.emulator.process import Emulator
from tests.integration.conftest import STACK, eventually, target_of

pytestmark = STACK
TABLE: dict[str, Any] = {
    "Type": "AWS::DynamoDB::Table",
    "DeletionPolicy": "RetainExceptOnCreate",
    "Properties": {
        "TableName": "kept-table",
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
    },
}
STREAM: dict[str, Any] = {
    "Type": "AWS::Kinesis::Stream",
    "DeletionPolicy": "Retain",
    "Properties": {"Name": "kept-stream", "ShardCount": 1},
}
FAILS: dict[str, Any] = {
    "Type": "AWS::IoT::TopicRule",
    "DependsOn": ["Table"],
    "Properties": {
        "RuleName": "fails",
        "TopicRulePayload": {
            "Sql": "SELECT * FROM 'x'",
            "Actions": [{"Kinesis": {"StreamName": "s", "RoleArn": "arn:aws:iam::1:role/none"}}],
        },
    },
}


@pytest.fixture
def cloudformation(emulator: Emulator) -> Iterator[Any]:
    target = target_of(emulator)
    yield target.client("cloudformation")
    dynamodb = target.client("dynamodb")
    for name in dynamodb.list_tables()["TableNames"]:
        if name == "kept-table":
            dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
            dynamodb.delete_table(TableName=name)
    kinesis = target.client("kinesis")
    if "kept-stream" in kinesis.list_streams()["StreamNames"]:
        kinesis.delete_stream(StreamName="kept-stream")


def create(cloudformation: Any, stack: str, **resources: Any) -> str:
    cloudformation.create_stack(
        StackName=stack, TemplateBody=json.dumps({"Resources": resources}),
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )  # fmt: skip
    return status(cloudformation, stack)


def status(cloudformation: Any, stack: str) -> str:
    """The stack's status when it is settled."""

    def settled() -> str | None:
        found = str(cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
        return None if found.endswith("_IN_PROGRESS") else found

    return str(eventually(settled))


def reasons(cloudformation: Any, stack: str) -> str:
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    return "\n".join(event.get("ResourceStatusReason", "") for event in events)


def test_names_of_retained_resources_make_the_next_creation_fail_and_nothing_is_lost(
    emulator: Emulator, cloudformation: Any
) -> None:
    assert create(cloudformation, "first", Table=TABLE, Stream=STREAM) == "CREATE_COMPLETE"
    dynamodb = target_of(emulator).client("dynamodb")
    dynamodb.put_item(TableName="kept-table", Item={"k": {"S": "kept"}})
    cloudformation.delete_stack(StackName="first")
    assert eventually(lambda: not _exists(cloudformation, "first"))
    for number, resource in enumerate(({"Table": TABLE}, {"Stream": STREAM})):
        stack = f"second-{number}"
        assert create(cloudformation, stack, **resource).startswith("ROLLBACK_COMPLETE")
        assert "already exists" in reasons(cloudformation, stack)
    assert dynamodb.get_item(TableName="kept-table", Key={"k": {"S": "kept"}})["Item"]


@pytest.mark.parametrize("name", ["kept-table", {"Fn::Sub": "kept-${Suffix}"}])
def test_only_a_static_name_is_imported_and_only_what_its_stack_would_retain(
    emulator: Emulator, cloudformation: Any, name: Any
) -> None:
    """Source: user guide, "Import AWS resources into a CloudFormation stack automatically"."""
    assert create(cloudformation, "fifth", Table=TABLE) == "CREATE_COMPLETE"
    cloudformation.delete_stack(StackName="fifth")
    assert eventually(lambda: not _exists(cloudformation, "fifth"))
    table = {**TABLE, "Properties": {**TABLE["Properties"], "TableName": name}}
    made = change_set(cloudformation, "sixth", Table=table)
    actions = [one["ResourceChange"]["Action"] for one in made["Changes"]]
    assert actions == ["Import" if isinstance(name, str) else "Add"]
    unkept = {name: value for name, value in table.items() if name != "DeletionPolicy"}
    refused = change_set(cloudformation, "seventh", Table=unkept)
    if isinstance(name, str):
        assert "must have the DeletionPolicy attribute" in refused["StatusReason"]


def change_set(cloudformation: Any, stack: str, **resources: Any) -> Any:
    """A change set that imports, as it is described."""
    body = {"Parameters": {"Suffix": {"Type": "String", "Default": "table"}}}
    cloudformation.create_change_set(
        StackName=stack, ChangeSetName="imports", ChangeSetType="CREATE",
        TemplateBody=json.dumps({**body, "Resources": resources}), ImportExistingResources=True,
    )  # fmt: skip
    found = cloudformation.describe_change_set(StackName=stack, ChangeSetName="imports")
    cloudformation.delete_stack(StackName=stack)
    return found


def test_a_protected_table_makes_the_rollback_of_a_creation_fail(cloudformation: Any) -> None:
    protected = {
        **TABLE,
        "Properties": {**TABLE["Properties"], "DeletionProtectionEnabled": True},
    }
    assert create(cloudformation, "third", Table=protected, Fails=FAILS) == "ROLLBACK_FAILED"
    assert "protected against deletion" in reasons(cloudformation, "third")


def test_a_table_without_protection_is_rolled_back(emulator: Emulator, cloudformation: Any) -> None:
    assert create(cloudformation, "fourth", Table=TABLE, Fails=FAILS) == "ROLLBACK_COMPLETE"
    tables = target_of(emulator).client("dynamodb").list_tables()["TableNames"]
    assert "kept-table" not in tables


def _exists(cloudformation: Any, stack: str) -> bool:
    found = cloudformation.list_stacks()["StackSummaries"]
    return any(s["StackName"] == stack and s["StackStatus"] != "DELETE_COMPLETE" for s in found)
