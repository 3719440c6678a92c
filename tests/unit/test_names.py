"""The longest stack name that is taken makes no name that AWS refuses."""

from __future__ import annotations

from typing import Final

import pytest

from infra.aws.stacks.names import limits, refuse_names
from ingest.settings import Settings
from tests.harness.template import resources

ACCOUNT: Final = "123456789012"
LONGEST: Final = {
    "AWS::DynamoDB::Table": ("TableName", 255),
    "AWS::IAM::Role": ("RoleName", 64),
    "AWS::IoT::Policy": ("PolicyName", 128),
    "AWS::IoT::ProvisioningTemplate": ("TemplateName", 36),
    "AWS::IoT::ThingType": ("ThingTypeName", 128),
    "AWS::IoT::TopicRule": ("RuleName", 128),
    "AWS::Kinesis::Stream": ("Name", 128),
    "AWS::Lambda::Function": ("FunctionName", 64),
    "AWS::Logs::LogGroup": ("LogGroupName", 512),
    "AWS::S3::Bucket": ("BucketName", 63),
    "AWS::SQS::Queue": ("QueueName", 80),
}
"""Each type's name, and how many characters its service takes: API references of the services."""


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "ap-southeast-1", "us-isof-south-1"])
def test_no_name_of_the_template_is_too_long_with_the_longest_stack_name(region: str) -> None:
    longest = min(limit.stack for limit in limits(Settings(region=region), ACCOUNT))
    settings = Settings(stack="a" * longest, region=region)
    assert refuse_names(settings, ACCOUNT) is None
    seen = set()
    for body in resources(settings.stack, region, ACCOUNT).values():
        if body["Type"] in LONGEST:
            name, most = LONGEST[body["Type"]]
            assert len(body["Properties"][name]) <= most, body
            seen.add(body["Type"])
    assert {"AWS::S3::Bucket", "AWS::IAM::Role", "AWS::IoT::ProvisioningTemplate"} <= seen


@pytest.mark.parametrize(("region", "longest"), [("us-east-1", 29), ("ap-southeast-1", 27)])
def test_a_name_that_is_too_long_is_refused_with_the_longest_that_is_possible(
    region: str, longest: int
) -> None:
    assert refuse_names(Settings(stack="a" * longest, region=region), ACCOUNT) is None
    refused = refuse_names(Settings(stack="a" * (longest + 1), region=region), ACCOUNT)
    assert refused is not None
    assert f"at most {longest} are possible" in refused
