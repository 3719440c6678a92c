"""Commands that write name their target, and touch AWS only when the user says so."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import rich_click

from infra.commands import write_target
from infra.commands.write_target import find_write_target
from infra.console import UserError
from infra.target import Target
from ingest.settings import Settings

ACTION = "create device press-1"


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(write_target, "say", lines.append)
    monkeypatch.setattr(sys, "stdin", _Stdin(terminal=False))
    return lines


class _Stdin:
    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def find(monkeypatch: pytest.MonkeyPatch, *, local: bool = False, **settings: Any) -> None:
    target = Target(Settings(stack="plant-7", region="eu-west-1", **settings), "123456789012",
                    local=local)  # fmt: skip
    monkeypatch.setattr(write_target, "find_target", lambda **_: target)


def test_without_a_terminal_a_write_to_aws_is_refused_and_the_target_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find(monkeypatch)
    with pytest.raises(UserError) as refused:
        find_write_target(ACTION, aws=False)
    for part in (ACTION, "account 123456789012", "Region eu-west-1", "stack plant-7", "--aws"):
        assert part in str(refused.value)


def test_with_the_option_aws_the_target_is_named_and_the_write_goes_on(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    find(monkeypatch)
    assert find_write_target(ACTION, aws=True).settings.stack == "plant-7"
    assert said == [f"{ACTION}: account 123456789012, Region eu-west-1, stack plant-7"]


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_a_write_to_aws_needs_a_yes(
    monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    find(monkeypatch)
    monkeypatch.setattr(sys, "stdin", _Stdin(terminal=True))
    asked: list[str] = []

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(rich_click, "confirm", confirm)
    if answer:
        assert find_write_target(ACTION, aws=False).account == "123456789012"
    else:
        with pytest.raises(UserError, match="nothing was changed"):
            find_write_target(ACTION, aws=False)
    assert "account 123456789012, Region eu-west-1, stack plant-7" in asked[0]


def test_a_stack_on_this_machine_is_written_to_without_a_question(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    find(monkeypatch, local=True)
    find_write_target(ACTION, aws=False)
    find(monkeypatch, endpoint_url="http://127.0.0.1:4566")
    find_write_target(ACTION, aws=False)
    assert said == []
