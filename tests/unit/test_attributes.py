"""Group and type of a device are refused where they are typed, as AWS IoT would refuse them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from devices.provisioning.attributes import check_attribute
from devices.provisioning.registry import Clients, announce, create_device
from infra.commands.device import device
from infra.emulator.limits.things import refuse_attributes
from ingest.settings import Settings
from simulator.errors import ScenarioError
from simulator.scenario import parse

GOOD = ["default", "hall-3/line.1", "a_b,c@d:e#f=[g]", "x" * 800]
BAD = ["two words", "Höhe", "", "a\nb", "x" * 801, "50%"]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_allowed_here_is_taken_by_the_registry(text: str) -> None:
    assert check_attribute(text) == text
    assert refuse_attributes({"group": text}) is None


@pytest.mark.parametrize("text", BAD)
def test_what_the_registry_refuses_is_refused_with_the_pattern(text: str) -> None:
    with pytest.raises(ValueError, match=r"letters .* digits"):
        check_attribute(text)


@pytest.mark.parametrize("command", ["create", "announce"])
@pytest.mark.parametrize("option", ["--group", "--type"])
def test_the_command_line_refuses_before_it_looks_for_a_stack(command: str, option: str) -> None:
    result = CliRunner().invoke(device, [command, "pump-1", option, "two words"])
    assert result.exit_code == 2
    assert "'two words' cannot be a group or a type" in result.output.replace("\n", " ")


def test_nothing_is_called_for_a_group_that_would_be_refused(tmp_path: Path) -> None:
    nobody: Any = None
    settings = Settings(devices_dir=tmp_path)
    with pytest.raises(ValueError, match="two words"):
        announce(Clients(nobody, nobody), settings, "pump-1", group="two words", kind="pump")
    with pytest.raises(ValueError, match="two words"):
        create_device(Clients(nobody, nobody), settings, "pump-1", kind="two words")
    assert list(tmp_path.iterdir()) == []


def test_a_scenario_names_types_that_a_thing_can_have() -> None:
    text = (
        'name = "s"\n[[fleets]]\nname = "f"\ndevices = 1\nreplay = "r.csv"\ntype = "two words"\n'
        "[[fleets.phases]]\nseconds = 1\nrate = 1\n"
    )
    with pytest.raises(ScenarioError, match="two words"):
        parse(text)
