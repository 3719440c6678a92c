"""All CloudFormation templates: clean, and named after their stack; the service's own promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.api import lint
from cfnlint.config import ManualArgs
from cfnlint.decode import decode, decode_str

from consumers.kcl.capacity import capacity
from consumers.worker.supervisor import STOP_MARGIN_S
from infra.aws.stacks.template import MOST_BYTES, without_comments
from ingest.settings import Settings

TEMPLATES = Path(__file__).parents[2] / "infra" / "templates"
SERVICE = decode(TEMPLATES / "service.yaml")[0]
RESOURCES: dict[str, Any] = SERVICE["Resources"]
CONTAINER: dict[str, Any] = RESOURCES["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]
ENVIRONMENT: dict[str, Any] = {one["Name"]: one["Value"] for one in CONTAINER["Environment"]}


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.yaml")), ids=lambda t: t.stem)
def test_a_template_is_clean(template: Path) -> None:
    found = lint(template.read_text(), config=ManualArgs(regions=["us-east-1", "eu-west-1"]))
    assert [str(match) for match in found] == []


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.yaml")), ids=lambda t: t.stem)
def test_a_template_fits_into_a_request_and_says_the_same_without_comments(template: Path) -> None:
    whole = template.read_text()
    sent = without_comments(whole)
    assert len(sent.encode()) <= MOST_BYTES
    assert _without_code(yaml_of(sent)) == _without_code(yaml_of(whole))


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.yaml")), ids=lambda t: t.stem)
def test_a_template_has_no_aliases_which_cloudformation_does_not_take(template: Path) -> None:
    """CloudFormation user guide, "Template format": YAML 1.1 but for aliases and some tags."""
    tokens = {type(token) for token in yaml.scan(template.read_text(), Loader=yaml.SafeLoader)}
    assert not tokens & {yaml.AliasToken, yaml.AnchorToken}


def yaml_of(text: str) -> Any:
    """The template as data."""
    document, problems = decode_str(text)
    assert not problems
    return document


def _without_code(node: Any) -> Any:
    """The same with texts in which empty lines and comments do not count."""
    if isinstance(node, dict):
        return {key: _without_code(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_code(item) for item in node]
    return without_comments(node) if isinstance(node, str) and "\n" in node else node


@pytest.mark.parametrize("shards", SERVICE["Mappings"]["TaskSize"])
def test_a_task_has_the_memory_that_a_worker_plans_for_its_shards(shards: str) -> None:
    size = SERVICE["Mappings"]["TaskSize"][shards]
    assert capacity(Settings(), size["Memory"]).leases == int(shards)
    assert shards in SERVICE["Parameters"]["ShardsPerTask"]["AllowedValues"]


@pytest.mark.parametrize("size", SERVICE["Mappings"]["TaskSize"].values(), ids=str)
def test_a_task_has_a_size_that_fargate_offers(size: dict[str, int]) -> None:
    """Amazon ECS developer guide, "Task CPU and memory": in steps of 1 GB."""
    offered = {512: (1, 4), 1024: (2, 8), 2048: (4, 16), 4096: (8, 30)}
    least, most = offered[size["Cpu"]]
    assert size["Memory"] % 1024 == 0
    assert least <= size["Memory"] // 1024 <= most


def test_a_worker_that_is_stopped_has_the_time_to_commit_before_it_is_killed() -> None:
    """ECS sends SIGKILL after ``stopTimeout``, at most 120 s on Fargate."""
    assert CONTAINER["StopTimeout"] == 120
    assert int(ENVIRONMENT["PENSTOCK_SHUTDOWN_GRACE_S"]) + STOP_MARGIN_S < CONTAINER["StopTimeout"]


def test_the_settings_of_a_task_are_settings_and_its_metrics_are_on() -> None:
    values = {
        name.removeprefix("PENSTOCK_").lower(): value
        for name, value in ENVIRONMENT.items()
        if isinstance(value, str)
    }
    assert set(map(str.lower, (n.removeprefix("PENSTOCK_") for n in ENVIRONMENT))) <= set(
        Settings.model_fields
    )
    resolved = Settings.model_validate(values)
    assert resolved.metrics == "emf"
    assert f"127.0.0.1:{Settings().status_port}/livez" in str(CONTAINER["HealthCheck"]["Command"])


def test_a_worker_can_write_only_its_own_folders_and_is_not_root() -> None:
    assert CONTAINER["ReadonlyRootFilesystem"] is True
    assert not str(CONTAINER["User"]).startswith("0")
    paths = {one["ContainerPath"] for one in CONTAINER["MountPoints"]}
    assert paths == {"/var/lib/penstock", "/tmp"}
    assert CONTAINER["WorkingDirectory"] in paths


def test_nothing_comes_in_to_a_worker() -> None:
    assert RESOURCES["SecurityGroup"]["Properties"]["SecurityGroupIngress"] == []
    assert "LoadBalancers" not in RESOURCES["Service"]["Properties"]


def test_a_new_version_starts_before_the_old_one_stops_and_a_broken_one_is_rolled_back() -> None:
    deployment = RESOURCES["Service"]["Properties"]["DeploymentConfiguration"]
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}


def test_what_the_embedded_aws_does_not_know_stands_behind_the_condition_of_scaling() -> None:
    """It refuses a template that makes a scalable target or a scaling policy."""
    unknown = {
        name: body.get("Condition")
        for name, body in RESOURCES.items()
        if body["Type"].startswith("AWS::ApplicationAutoScaling::")
    }
    assert unknown == dict.fromkeys(("ScalableTarget", "ScaleOut", "ScaleIn"), "Scales")


def test_the_tasks_evaluate_alert_rules_when_the_parameter_says_so() -> None:
    assert ENVIRONMENT["PENSTOCK_ALERTS"] == {"Ref": "Alerts"}
    assert SERVICE["Parameters"]["Alerts"]["Default"] == "false"
    endpoint = RESOURCES["EventsEndpoint"]
    assert endpoint["Condition"] == "AlertsPrivately"
    assert endpoint["Properties"]["PrivateDnsEnabled"] is True


def test_private_workers_reach_every_service_that_they_call() -> None:
    services = {
        body["Properties"]["ServiceName"]["Fn::Sub"].split("${AWS::Region}.")[1]
        for body in RESOURCES.values()
        if body["Type"] == "AWS::EC2::VPCEndpoint"
    }
    assert services == {
        "s3", "dynamodb", "kinesis-streams", "sts", "sqs", "logs", "ecr.api", "ecr.dkr", "iot.data",
        "events", "glue",
    }  # fmt: skip
