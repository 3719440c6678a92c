"""Kubernetes, systemd, Terraform and SAM: the same worker, the same templates, checked by their own
validators where these are there."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.decode import decode

from consumers.worker.supervisor import STOP_MARGIN_S
from infra.aws.stacks.templates import PARTS
from ingest.settings import Settings

AWS = Path(__file__).parents[2] / "infra" / "aws"
TERRAFORM = "\n".join(file.read_text() for file in sorted((AWS / "terraform").glob("*.tf")))
UNIT = AWS / "systemd" / "penstock-worker.service"


def manifest(kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((AWS / "kubernetes" / "worker.yaml").read_text())
    (found,) = [document for document in documents if document["kind"] == kind]
    return dict(found)


def test_the_pods_have_the_probes_the_grace_and_the_limits_of_the_service() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    port = {one["name"]: one["containerPort"] for one in container["ports"]}["status"]
    assert port == Settings().status_port
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "liveness": "/livez", "readiness": "/readyz",
    }  # fmt: skip
    environment = {one["name"]: one["value"] for one in container["env"]}
    names = {name.removeprefix("PENSTOCK_").lower() for name in environment}
    assert names <= set(Settings.model_fields)
    grace = int(environment["PENSTOCK_SHUTDOWN_GRACE_S"]) + STOP_MARGIN_S
    assert grace < pod["terminationGracePeriodSeconds"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_the_objects_of_the_manifest_belong_together() -> None:
    deployment, account = manifest("Deployment"), manifest("ServiceAccount")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    pod = deployment["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    mounted = {one["name"] for one in pod["containers"][0]["volumeMounts"]}
    assert mounted == {one["name"] for one in pod["volumes"]}
    space = manifest("Namespace")["metadata"]["name"]
    assert {account["metadata"]["namespace"], deployment["metadata"]["namespace"]} == {space}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """With the program replaced by one that is there; systemd looks for it."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/penstock/bin/penstock", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True
    )
    told = [line for line in done.stderr.splitlines() if UNIT.stem in line]
    assert (done.returncode, told) == (0, [])


def test_the_unit_waits_until_what_is_held_is_committed() -> None:
    values = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    grace = int(values["Environment"].partition("PENSTOCK_SHUTDOWN_GRACE_S=")[2])
    assert grace + STOP_MARGIN_S < int(values["TimeoutStopSec"])
    assert (values["KillMode"], values["KillSignal"]) == ("mixed", "SIGTERM")


def test_terraform_deploys_the_same_templates_with_what_they_take() -> None:
    for part in PARTS:
        assert f'file("${{local.templates}}/{part.template.name}")' in TERRAFORM
        for name, output in part.takes.items():
            assert re.search(
                rf'{name}\s*= aws_cloudformation_stack\.pipeline\.outputs\["{output}"\]', TERRAFORM
            )
        for name, output in part.shares.items():
            assert re.search(
                rf'{name}\s*= aws_cloudformation_stack\.service\[0\]\.outputs\["{output}"\]',
                TERRAFORM,
            )
        for name in part.inherits:
            assert re.search(rf'{name}\s*= lookup\(var\.pipeline_parameters, "{name}"', TERRAFORM)
    used = set(re.findall(r"\bvar\.(\w+)", TERRAFORM))
    assert used == set(re.findall(r'^variable "(\w+)"', TERRAFORM, re.MULTILINE))
    assert TERRAFORM.count("{") == TERRAFORM.count("}")


def test_sam_deploys_the_same_templates_under_the_same_names() -> None:
    folder = AWS / "sam"
    config = tomllib.loads((folder / "samconfig.toml").read_text())
    found = {name: config[name]["deploy"]["parameters"] for name in ("default", *_names())}
    for name, values in found.items():
        template = decode(folder / values["template_file"])[0]
        given = dict(one.split("=") for one in values.get("parameter_overrides", "").split())
        assert given.keys() <= template["Parameters"].keys()
        assert values["stack_name"] == ("penstock" if name == "default" else f"penstock-{name}")
    assert f"RuleName={Settings().rule}" in found["operations"]["parameter_overrides"]


def _names() -> list[str]:
    return [part.name for part in PARTS]
