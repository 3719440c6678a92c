"""A demo in which somebody is killed still ends exact, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.command import start
from tests.harness.processes import (
    alive,
    await_value,
    children_of,
    command_line,
    daemon_of,
    descendants,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chaos")]


def killed_demo(folder: Path, kill: Callable[[int], int]) -> dict[str, Any]:
    """Run a demo, kill what ``kill`` names once the load is on, and return its report."""
    demo = start(folder, "demo", "--devices", "8", "--rate", "5", "--seconds", "12",
                 "--duplicates", "5", "--garbage", "9", "--seed", "3", "--json")  # fmt: skip
    try:
        await_value(lambda: _load_is_on(folder, demo), 60, "the load")
        mine = [pid for pid, _ in descendants(demo.pid)]
        victim = kill(demo.pid)
        os.kill(victim, signal.SIGKILL)
        out, err = demo.communicate(timeout=180)
    finally:
        demo.kill()
        demo.communicate()
    assert demo.returncode == 0, err
    assert not [command_line(pid) for pid in mine if alive(pid)]
    assert list((folder / ".penstock").iterdir()) == []
    return dict(json.loads(out))


def _load_is_on(folder: Path, demo: subprocess.Popen[str]) -> bool | None:
    """Whether some dozens of messages have been written down as sent."""
    assert demo.poll() is None, demo.communicate()
    ledgers = list(folder.glob(".penstock/*/ledger.sqlite-wal"))
    return True if ledgers and ledgers[0].stat().st_size > 100_000 else None


def check(report: dict[str, Any]) -> None:
    assert report["verdict"] == "exact", report["differences"]
    assert report["restarts"] >= 1
    assert report["sent"]["acknowledged"] == report["sent"]["readings"] == 8 * 5 * 12


def test_the_kcl_daemon_is_killed_and_the_result_is_exact(tmp_path: Path) -> None:
    def daemon(pid: int) -> int:
        return await_value(lambda: daemon_of(pid), 10, "the daemon")

    check(killed_demo(tmp_path, daemon))


def test_one_shard_s_child_is_killed_and_the_result_is_exact(tmp_path: Path) -> None:
    check(killed_demo(tmp_path, lambda pid: children_of(pid)[0]))


def test_nothing_is_left_when_a_demo_is_killed_outright(tmp_path: Path) -> None:
    demo = start(tmp_path, "demo", "--devices", "4", "--seconds", "30")
    try:
        await_value(lambda: _load_is_on_at_all(tmp_path), 60, "the load")
        mine = [pid for pid, _ in descendants(demo.pid)]
        assert len(mine) >= 4  # emulator, daemon, two children
    finally:
        demo.kill()
        demo.communicate()
    deadline = time.monotonic() + 40
    while (left := [pid for pid in mine if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [command_line(pid) for pid in left] == []


def _load_is_on_at_all(folder: Path) -> bool | None:
    return True if list(folder.glob(".penstock/*/ledger.sqlite-wal")) else None
