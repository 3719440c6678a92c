"""``make bench`` measures; it changes the recorded figures only when asked to."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

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


def test_a_quick_run_is_smaller_where_a_measure_can_be_and_is_never_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def whole(_: object) -> dict[str, object]:
        return {"ran": "whole", "checks": []}

    def quick(_: object) -> dict[str, object]:
        return {"ran": "quick", "checks": []}

    modules = {"L1": SimpleNamespace(run=whole, quick=quick), "P1": SimpleNamespace(run=whole)}
    monkeypatch.setattr(bench, "MEASURES", {name: name for name in modules})
    monkeypatch.setattr(bench, "import_module", modules.__getitem__)
    assert bench.main(["--quick"]) == 0
    found = json.loads(bench.LATEST.read_text())
    assert {name: found[name]["ran"] for name in modules} == {"L1": "quick", "P1": "whole"}
    with pytest.raises(SystemExit):
        bench.main(["--quick", "--record"])
