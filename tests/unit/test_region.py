"""Region and profile come from where every AWS tool reads them, unless Penstock's own say more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from moto import mock_aws

from infra.cli import run
from infra.console import UserError
from infra.target import find_target

CONFIG = """
[profile factory]
region = eu-south-1
aws_access_key_id = a
aws_secret_access_key = b
"""


@pytest.fixture(autouse=True)
def _a_laptop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "PENSTOCK_REGION"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def _region() -> str:
    with mock_aws():
        return find_target(aws=True).settings.region


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-1"),
        ({"AWS_PROFILE": "factory"}, "eu-south-1"),
        ({"AWS_REGION": "eu-west-1", "PENSTOCK_REGION": "eu-north-1"}, "eu-north-1"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_the_region_is_the_one_that_every_aws_tool_takes(
    variables: dict[str, str], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert _region() == region


def test_a_region_in_the_settings_file_is_before_that_of_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "factory")
    (tmp_path / "penstock.toml").write_text('region = "ap-south-1"\n')
    assert _region() == "ap-south-1"


def test_an_option_names_region_and_profile_for_one_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mock_aws():
        assert (
            run(["--profile", "factory", "--region", "eu-central-1", "env", "--aws", "--json"]) == 0
        )
    assert json.loads(capsys.readouterr().out)["AWS_REGION"] == "eu-central-1"


def test_a_profile_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UserError, match=r"nobody.*list-profiles"):
        _region()
