"""``penstock deploy`` and ``destroy``, as on AWS: found by settings, with the user's own keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.emulator.process import Emulator
from tests.harness.command import Result, run
from tests.integration.conftest import STACK, commands_on, target_of

pytestmark = STACK


@pytest.fixture
def aws(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with commands_on(emulator, "plant-7", monkeypatch):
        yield


@pytest.mark.usefixtures("aws")
def test_a_stack_is_deployed_changed_and_taken_away_with_each_step_told(
    emulator: Emulator, tmp_path: Path
) -> None:
    def penstock(*arguments: str) -> Result:
        return run(tmp_path, *arguments)

    made = penstock("deploy", "--shards", "1", "--simulator", "--json")
    assert made.code == 0, made.err
    assert made.json["StreamName"] == "plant-7-telemetry"
    assert "CREATE_COMPLETE" in made.err
    kinesis = target_of(emulator).client("kinesis")
    assert len(kinesis.list_shards(StreamName="plant-7-telemetry")["Shards"]) == 1

    again = penstock("deploy")
    assert again.code == 0, again.err
    assert "UPDATE" not in again.err  # nothing was named, so nothing changes
    assert "SimulatorRoleArn" in again.out

    planned = penstock("deploy", "--retention-hours", "48", "--plan", "--json")
    assert {(one["action"], one["resource"]) for one in planned.json} >= {("Modify", "Stream")}
    assert not any(one["destroys"] for one in planned.json)
    assert "UPDATE" not in penstock("deploy").err  # a plan changes nothing

    refused = penstock("deploy", "--no-simulator")
    assert (refused.code, "remove SimulatorRole" in refused.err) == (1, True), refused.err
    assert "SimulatorRoleArn" in penstock("deploy").out
    assert penstock("deploy", "--no-simulator", "--yes").code == 0

    kept = penstock("destroy", "--yes")
    assert kept.code == 0, kept.err
    tables = target_of(emulator).client("dynamodb").list_tables()["TableNames"]
    assert "plant-7-windows" in tables  # data stays unless asked for

    gone = penstock("destroy", "--yes", "--delete-data")
    assert "deleted table plant-7-windows" in gone.err
    assert "deleted bucket plant-7-archive-000000000000-us-east-1" in gone.err
    assert "there is no stack plant-7" in penstock("destroy", "--yes").err


@pytest.mark.usefixtures("aws")
def test_destroy_asks_and_takes_silence_for_no(tmp_path: Path) -> None:
    result = run(tmp_path, "destroy")
    assert result.code != 0
    assert "Delete stack plant-7" in result.out + result.err
