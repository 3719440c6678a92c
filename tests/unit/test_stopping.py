"""Ctrl-C: a step that was cut short is not shown as done, and an import ends with one word."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from infra import console
from infra.console import Stages
from infra.local.stack import LocalOptions, LocalStack


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(console, "say", lines.append)
    return lines


def test_a_step_in_which_the_user_stops_is_not_shown_as_done(shown: list[str]) -> None:
    stopping = threading.Event()
    stages = Stages(stopping.is_set)
    with stages.stage("one", "the first step"):
        pass
    with pytest.raises(KeyboardInterrupt), stages.stage("two", "the second step"):
        stopping.set()
    with pytest.raises(KeyboardInterrupt), stages.stage("three", "the third step"):
        raise AssertionError("a step is not begun when the user wants to stop")
    assert [line.split("(")[0].strip() for line in shown] == ["✓ the first step"]
    assert list(stages.seconds) == ["one"]


def test_a_step_that_ends_in_order_is_shown_when_the_user_stops(shown: list[str]) -> None:
    stages = Stages(lambda: True)
    with stages.stage("load", "load is driven", cut_short=False):
        pass
    assert shown[0].startswith("  ✓ load is driven")


def test_waiting_for_shards_ends_at_once_when_the_user_stops(tmp_path: Any) -> None:
    class Worker:
        class status:
            @staticmethod
            def progress() -> dict[str, Any]:
                return {}

    stack = LocalStack(LocalOptions(tmp_path), Stages(), lambda _: None)
    stack.worker = Worker()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        stack.await_shards(lambda: True)


def test_ctrl_c_while_the_command_line_is_imported_ends_with_one_word() -> None:
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'infra.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from infra.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr, ended.stdout) == (130, "stopped\n", "")
