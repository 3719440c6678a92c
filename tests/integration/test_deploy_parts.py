"""``penstock deploy --service --operations``: three stacks that come and go in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.emulator.process import Emulator
from tests.harness.command import Result, run
from tests.integration.conftest import STACK, commands_on, target_of

pytestmark = STACK
NAMES = ["plant-8", "plant-8-service", "plant-8-operations"]


@pytest.fixture
def aws(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with commands_on(emulator, "plant-8", monkeypatch):
        yield


@pytest.mark.usefixtures("aws")
def test_service_and_operations_are_stacks_of_their_own_that_are_updated_and_destroyed_too(
    emulator: Emulator, tmp_path: Path
) -> None:
    def penstock(*arguments: str) -> Result:
        return run(tmp_path, *arguments)

    cfn = target_of(emulator).client("cloudformation")

    def there() -> list[str]:
        """The stacks, oldest first."""
        found = cfn.describe_stacks()["Stacks"]
        mine = [s for s in found if s["StackName"].startswith("plant-8")]
        return [s["StackName"] for s in sorted(mine, key=lambda s: s["CreationTime"])]

    # The embedded AWS has no scaling: see docs/aws.md.
    made = penstock(
        "deploy", "--shards", "1", "--service", "registry/penstock:1", "--operations",
        "--parameter", "Scaling=false", "--parameter", "LagSeconds=90", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert made.json["ServiceName"] == "plant-8-worker"
    assert made.json["TopicArn"].endswith(":plant-8-alarms")
    assert there() == NAMES
    alarms = target_of(emulator).client("cloudwatch").describe_alarms
    (lag,) = alarms(AlarmNames=["plant-8-own-lag"])["MetricAlarms"]
    assert lag["Threshold"] == 90

    again = penstock("deploy")
    assert again.code == 0, again.err
    assert "UPDATE" not in again.err  # nothing was named, so nothing changes

    planned = penstock("deploy", "--plan", "--service", "registry/penstock:2", "--json")
    assert planned.code == 0, planned.err
    assert "TaskDefinition" in {change["resource"] for change in planned.json}

    newer = penstock("deploy", "--service", "registry/penstock:2")
    assert newer.code == 0, newer.err
    tasks = target_of(emulator).client("ecs")
    definition = tasks.describe_task_definition(taskDefinition="plant-8-worker")["taskDefinition"]
    assert definition["containerDefinitions"][0]["image"] == "registry/penstock:2"

    unknown = penstock("deploy", "--parameter", "Colour=red")
    assert unknown.code == 1
    assert "no parameter Colour in operations or service" in unknown.err

    gone = penstock("destroy", "--yes", "--delete-data")
    assert gone.code == 0, gone.err
    told = [gone.err.index(f"deleted stack {name}\n") for name in reversed(NAMES)]
    assert told == sorted(told)
    assert there() == []


@pytest.mark.usefixtures("aws")
def test_a_parameter_without_a_value_or_a_template_is_refused(tmp_path: Path) -> None:
    wrong = run(tmp_path, "deploy", "--service", "i", "--parameter", "Scaling")
    assert (wrong.code, "NAME=VALUE" in wrong.err) == (1, True)
    nowhere = run(tmp_path, "deploy", "--parameter", "Scaling=false")
    assert nowhere.code == 1
    assert "no parameter Scaling in template that this deployment has" in nowhere.err
