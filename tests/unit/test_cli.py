"""The command line's manners, without a stack."""

from __future__ import annotations

import collections
import shutil
from pathlib import Path

import pytest

from infra.console import UserError
from infra.local import stack as local
from infra.runfile import AlreadyUpError, RunningStack, hold, is_held, running_stack
from tests.harness.command import run


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--devices", "0"),
        ("demo", "--rate", "fast"),
        ("demo", "--nonsense"),
        ("nonsense",),
        ("device", "create"),
        ("simulate", "--via", "kinesis", "--speed", "3"),
        ("lake", "compact", "--memory", "much"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_wrong(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = run(tmp_path, *arguments)
    assert result.code == 2
    assert "Usage" in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


@pytest.mark.parametrize(
    "arguments",
    [("windows", "x"), ("devices",), ("simulate",), ("device", "create", "x"), ("consume",)],
)
def test_without_a_stack_and_without_aws_a_command_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = run(tmp_path, *arguments)
    assert result.code == 1
    assert "run `penstock up`, or configure AWS credentials" in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_wrong_settings_file_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text('stak = "x"')
    result = run(tmp_path, "devices")
    assert result.code == 1
    assert "there is no setting 'stak'" in result.err


def test_the_schema_is_json_and_nothing_else(tmp_path: Path) -> None:
    assert run(tmp_path, "schema").json["title"] == "Penstock telemetry, payload v1"


def test_the_doctor_finds_this_machine_fit(tmp_path: Path) -> None:
    result = run(tmp_path, "doctor", "--json")
    assert result.code == 0, result.out
    assert {check["name"] for check in result.json} >= {"Python", "Java runtime", "embedded AWS"}


def test_a_full_disk_is_told_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5, 5))
    with pytest.raises(UserError, match="free some, or run in another folder"):
        local.check_space(tmp_path / "not" / "there" / "yet")


def test_one_folder_holds_one_stack_and_a_dead_one_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_held()
    stack = RunningStack(1, "0", {}, {}, "http://127.0.0.1:1")
    with hold():
        stack.save()
        assert running_stack() == stack
        with pytest.raises(AlreadyUpError), hold():
            pass
        assert running_stack() == stack  # the refused one took nothing away
    assert not is_held()
    assert running_stack() is None
    stack.save()  # as a process that was killed leaves it
    assert running_stack() is None
