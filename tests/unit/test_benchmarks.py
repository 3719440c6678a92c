"""``make bench`` measures; it changes the recorded figures only when asked to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as bench

FIGURES: dict[str, dict[str, list[object]]] = {"P1": {"checks": []}}


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "benchmarks" / "results.json"
    path.parent.mkdir()
    path.write_text('{"P1": "old", "P2": "old"}')
    monkeypatch.setattr(bench, "RESULTS", path)
    monkeypatch.setattr(bench, "draw", lambda document: drawn.append(document))
    drawn.clear()
    return path


drawn: list[object] = []


def test_a_run_leaves_the_recorded_figures_and_the_plots_as_they_are(recorded: Path) -> None:
    written = bench.write(FIGURES, record=False)
    assert json.loads(recorded.read_text()) == {"P1": "old", "P2": "old"}
    assert drawn == []
    assert json.loads(written.read_text())["P1"] == FIGURES["P1"]
    assert written.parts[0] == ".penstock"


def test_with_record_a_run_replaces_its_own_figures_and_draws_the_plots(recorded: Path) -> None:
    assert bench.write(FIGURES, record=True) == recorded
    found = json.loads(recorded.read_text())
    assert (found["P1"], found["P2"]) == (FIGURES["P1"], "old")
    assert found["machine"]["cores"] > 0
    assert drawn == [found]
