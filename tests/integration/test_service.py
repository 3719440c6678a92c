"""The service's template on the embedded AWS: it deploys in each kind of network and goes away.
ECS runs nothing there, so what a task does is tested with processes (``make chaos``)."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from infra.emulator.process import Emulator
from tests.integration.conftest import STACK, target_of

pytestmark = STACK
TEMPLATE = Path(__file__).parents[2] / "infra" / "templates" / "service.yaml"


@pytest.mark.parametrize(
    ("parameters", "endpoints", "public"),
    [
        ({}, {"s3", "dynamodb"}, "ENABLED"),
        (
            {"AssignPublicIp": "DISABLED"},
            {"s3", "dynamodb", "kinesis-streams", "sts", "sqs", "logs", "ecr.api", "ecr.dkr"},
            "DISABLED",
        ),
        (
            {"AssignPublicIp": "DISABLED", "Alerts": "true", "Lake": "true"},
            {
                "s3",
                "dynamodb",
                "kinesis-streams",
                "sts",
                "sqs",
                "logs",
                "ecr.api",
                "ecr.dkr",
                "events",
                "glue",
            },
            "DISABLED",
        ),
        ({"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2"}, set(), "ENABLED"),
    ],
    ids=["public", "private", "private with alerts and a lake", "existing"],
)
def test_the_service_deploys_in_its_network_and_goes_away_again(
    emulator: Emulator, parameters: dict[str, str], endpoints: set[str], public: str
) -> None:
    pipeline = f"s{uuid.uuid4().hex[:8]}"
    target = target_of(emulator, pipeline)
    cfn, name = target.client("cloudformation"), f"{pipeline}-service"
    given = {
        "Pipeline": pipeline,
        "WorkerRoleArn": f"arn:aws:iam::{target.account}:role/worker",
        "Image": "penstock:1",
        "Scaling": "false",
        **parameters,
    }
    cfn.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
    )
    cfn.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    found = target.client("ecs").describe_services(
        cluster=pipeline, services=[f"{pipeline}-worker"]
    )
    (service,) = found["services"]
    network = service["networkConfiguration"]["awsvpcConfiguration"]
    assert (service["desiredCount"], network["assignPublicIp"]) == (2, public)
    assert len(network["subnets"]) == 2
    assert _endpoints(target.client("ec2"), cfn, name) == endpoints
    cfn.delete_stack(StackName=name)
    cfn.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def _endpoints(ec2: Any, cfn: Any, stack: str) -> set[str]:
    ids = [
        one["PhysicalResourceId"]
        for one in cfn.describe_stack_resources(StackName=stack)["StackResources"]
        if one["ResourceType"] == "AWS::EC2::VPCEndpoint"
    ]
    if not ids:
        return set()
    found = ec2.describe_vpc_endpoints(VpcEndpointIds=ids)["VpcEndpoints"]
    return {one["ServiceName"].split("us-east-1.")[1] for one in found}
