"""Failpoints: nothing unless a folder is named, and then once for each file in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consumers import failpoints
from consumers.failpoints import VARIABLE, FailpointError, armed_by, obey


def test_a_point_does_nothing_when_no_folder_is_named() -> None:
    assert failpoints.hit is failpoints._off


def test_an_armed_point_strikes_once_and_no_other_does(tmp_path: Path) -> None:
    struck: list[str] = []
    hit = armed_by(tmp_path, struck.append)
    (tmp_path / "after_put").write_text("crash")
    for point in ("before_put", "after_put", "after_put"):
        hit(point)
    assert struck == ["crash"]
    assert list(tmp_path.iterdir()) == []


def test_a_point_can_be_passed_before_it_strikes(tmp_path: Path) -> None:
    struck: list[str] = []
    hit = armed_by(tmp_path, struck.append)
    (tmp_path / "decoded").write_text("raise 2")
    hit("decoded")
    hit("decoded")
    assert struck == []
    hit("decoded")
    assert struck == ["raise"]


def test_an_unknown_action_raises() -> None:
    with pytest.raises(FailpointError, match="explode"):
        obey("explode")


def test_the_environment_switches_them_on_and_crash_is_a_kill(tmp_path: Path) -> None:
    (tmp_path / "decoded").write_text("crash")
    code = "from consumers import failpoints; failpoints.hit('decoded')"
    done = subprocess.run([sys.executable, "-c", code], env={VARIABLE: str(tmp_path)}, check=False)
    assert done.returncode == -9
