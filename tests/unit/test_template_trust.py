"""Who may take the template's roles: services of this account, and nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cfnlint.decode import decode

from infra.aws.stacks.template import TEMPLATE
from ingest.settings import Settings
from tests.harness.template import resources, substituted

ACCOUNT, REGION, STACK = "123456789012", "eu-west-1", "plant-7"
SETTINGS = Settings(stack=STACK, region=REGION)
RAW = decode(TEMPLATE)[0]
RESOURCES: dict[str, Any] = resources(STACK, REGION, ACCOUNT)


def _properties(name: str) -> Any:
    return RESOURCES[name]["Properties"]


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_the_rule_role_is_for_the_broker_of_this_account_only() -> None:
    trust = _properties("RuleRole")["AssumeRolePolicyDocument"]["Statement"]
    assert [s["Principal"] for s in trust] == [{"Service": "iot.amazonaws.com"}]
    assert trust[0]["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": f"arn:aws:iot:{REGION}:{ACCOUNT}:rule/{SETTINGS.rule}"},
    }
    trust = _properties("ProvisioningRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust[0]["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": f"arn:aws:iot:{REGION}:{ACCOUNT}:*"},
    }


@pytest.mark.parametrize("role", ["worker", "dashboard"])
@pytest.mark.parametrize(
    ("condition", "service", "actions"),
    [
        ("RunsOnEcs", "ecs-tasks.amazonaws.com", ["sts:AssumeRole"]),
        ("RunsOnEc2", "ec2.amazonaws.com", ["sts:AssumeRole"]),
        ("RunsInPods", "pods.eks.amazonaws.com", ["sts:AssumeRole", "sts:TagSession"]),
    ],
)
def test_one_compute_service_may_take_a_role_for_this_account_only(
    role: str, condition: str, service: str, actions: list[str]
) -> None:
    trust = _trust(role)["Statement"]
    (found,) = [s["Fn::If"][1] for s in trust if s.get("Fn::If", [""])[0] == condition]
    assert found["Principal"] == {"Service": service}
    assert _listed(found["Action"]) == actions
    by_hand = [s for s in trust if "Fn::If" not in s]
    assert [s["Principal"] for s in by_hand] == [{"AWS": f"arn:aws:iam::{ACCOUNT}:root"}]
    limits = found.get("Condition", {})
    if condition == "RunsOnEc2":  # an instance profile is no confused deputy: EC2 sends no source
        assert limits == {}
    else:
        assert limits["StringEquals"]["aws:SourceAccount"] == ACCOUNT
    if condition == "RunsOnEcs":
        assert limits["ArnLike"] == {"aws:SourceArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:*"}
    if condition == "RunsInPods":
        tags = {k: v for k, v in limits["StringEquals"].items() if k.startswith("aws:RequestTag/")}
        assert tags == {
            "aws:RequestTag/kubernetes-namespace": "<KubernetesNamespace>",
            "aws:RequestTag/kubernetes-service-account": f"{STACK}-{role}",
        }


@pytest.mark.parametrize("role", ["worker", "dashboard"])
def test_a_service_account_of_one_namespace_may_take_a_role_by_the_clusters_oidc_provider(
    role: str,
) -> None:
    issuer = "oidc.eks.eu-west-1.amazonaws.com/id/ABC"
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"
    text, names = RAW["Resources"][f"{role.capitalize()}Role"]["Properties"][
        "AssumeRolePolicyDocument"
    ]["Fn::If"][1]["Fn::Sub"]
    index, split = names["Issuer"]["Fn::Select"]
    separator, source = split["Fn::Split"]
    whole = source["Fn::Sub"].replace("${OidcProviderArn}", provider)
    document = json.loads(
        substituted(
            text,
            {
                "AWS::StackName": STACK,
                "AWS::AccountId": ACCOUNT,
                "AWS::Partition": "aws",
                "Issuer": whole.split(separator)[index],
                "OidcProviderArn": provider,
                "KubernetesNamespace": "factory",
            },
        )
    )
    federated, by_hand = document["Statement"]
    assert federated["Principal"] == {"Federated": provider}
    assert federated["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert federated["Condition"]["StringEquals"] == {
        f"{issuer}:aud": "sts.amazonaws.com",
        f"{issuer}:sub": f"system:serviceaccount:factory:{STACK}-{role}",
    }
    assert by_hand["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}


def _trust(role: str) -> Any:
    """A role's trust policy where no OIDC provider is named."""
    document = _properties(f"{role.capitalize()}Role")["AssumeRolePolicyDocument"]["Fn::If"]
    assert document[0] == "TrustsServiceAccounts"
    return document[2]
