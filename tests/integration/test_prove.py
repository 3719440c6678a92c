"""``penstock prove``, killed after its steps and in the middle of them: it goes on, or is cleaned,
and nothing is left in any service. ``--aws`` means an embedded AWS that is not its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.aws.removal.holdings import holdings
from infra.prove.plan import ORDER, Step
from infra.prove.run_state import FILE, FOLDER
from simulator.errors import LedgerError
from simulator.verification.ledger import read_entries
from tests.harness import command
from tests.harness.processes import alive, descendants
from tests.integration.account import Account
from tests.integration.conftest import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("prove")]

SMALL = ("--devices", "4", "--seconds", "12", "--seed", "7")
IN_ACCOUNT = ("prove", "--aws", "--yes", *SMALL)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    opened = Account(tmp_path)
    yield opened
    opened.close()


def _state(folder: Path) -> Any:
    try:
        return json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return {"begun": [], "done": [], "stack": ""}


def _kill_when(folder: Path, process: subprocess.Popen[str], probe: Any) -> None:
    """SIGKILL as soon as something is so; and wait until its children are gone too."""
    assert eventually(lambda: probe() or process.poll() is not None, within_s=240)
    assert process.poll() is None, process.communicate()[1]
    below = [pid for pid, _ in descendants(process.pid)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert eventually(lambda: not any(map(alive, below)), within_s=60), _state(folder)


def _sent(folder: Path) -> int:
    try:
        path = folder / FOLDER / _state(folder)["stack"] / "ledger.sqlite"
        return sum(1 for _ in read_entries(path))
    except LedgerError:
        return 0


def _proven(folder: Path, result: tuple[int, str, str]) -> Any:
    code, out, err = result
    assert code == 0, err + out
    report = json.loads(out)
    assert report["verdict"] == "exact", report
    assert [one["name"] for one in report["faults"]["pipeline"]] == ["worker_killed", "shard_split"]
    assert not (folder / FILE).exists()
    assert not (folder / FOLDER / report["run"]).exists()
    return report


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=400)
    return process.returncode, out, err


def test_killed_after_every_step_and_in_mid_load_it_ends_exact_and_leaves_nothing(
    account: Account,
) -> None:
    folder, target = account.folder, account.target()
    empty = holdings(target)
    process = account.start(*IN_ACCOUNT)
    for step in ORDER[: ORDER.index(Step.INSPECT)]:
        if step is Step.LOAD:
            _kill_when(folder, process, lambda: _sent(folder) > 20)
            process = account.start("prove", "--resume")
        _kill_when(folder, process, lambda step=step: step in _state(folder)["done"])
        if step is Step.PREFLIGHT:
            refused = account.penstock(*IN_ACCOUNT)
            assert (refused.code, "--resume" in refused.err) == (1, True), refused.err
        process = account.start("prove", "--resume", "--json")
    report = _proven(folder, _end(process))
    assert holdings(target) == empty
    assert report["times"]["resumed"] > 6
    assert report["where"]["profile"] == "aws"
    assert report["cost"]["usd"] < 1
    path = folder / ".penstock" / "reports" / f"{report['run']}.json"
    checked = account.penstock("prove", "--check", str(path), "--json")
    assert (checked.code, checked.json["own_key"]) == (0, True)
    path.write_text(path.read_text().replace('"extra": 0', '"extra": 1'))
    assert account.penstock("prove", "--check", str(path)).code == 1


@pytest.mark.parametrize("step", [Step.DEPLOY, Step.LOAD])
def test_killed_in_a_step_and_cleaned_nothing_is_left(account: Account, step: Step) -> None:
    folder, target = account.folder, account.target()
    empty = holdings(target)
    process = account.start(*IN_ACCOUNT)
    begun = {
        Step.DEPLOY: lambda: holdings(target) != empty,
        Step.LOAD: lambda: _sent(folder) > 20,
    }
    _kill_when(folder, process, begun[step])
    assert holdings(target) != empty
    cleaned = account.penstock("prove", "--clean")
    assert cleaned.code == 0, cleaned.err
    assert holdings(target) == empty
    assert not (folder / FILE).exists()
    again = account.penstock("prove", "--clean")
    assert (again.code, "nothing to remove" in again.err) == (0, True)


def test_it_says_what_it_costs_and_begins_nothing_unless_it_is_wanted(account: Account) -> None:
    empty = holdings(account.target())
    dear = account.penstock("prove", "--aws", "--yes", "--max-usd", "0.01")
    assert (dear.code, "--max-usd is 0.01" in dear.err) == (1, True), dear.err
    unasked = account.penstock("prove", "--aws")
    assert (unasked.code, "add --yes" in unasked.err) == (1, True), unasked.err
    assert "at most 0." in unasked.err
    assert not (account.folder / FILE).exists()
    assert holdings(account.target()) == empty
    assert account.penstock("prove", "--resume").code == 1


def test_on_its_own_embedded_aws_it_goes_on_with_what_that_saved(tmp_path: Path) -> None:
    command.extra = {}
    process = command.start(tmp_path, "prove", *SMALL)
    _kill_when(tmp_path, process, lambda: _sent(tmp_path) > 20)
    before = _sent(tmp_path)
    report = _proven(tmp_path, _end(command.start(tmp_path, "prove", "--resume", "--json")))
    assert report["sent"]["messages"] > before
    assert report["where"]["profile"] == "strict"


def test_ctrl_c_stops_it_and_says_how_it_goes_on(tmp_path: Path) -> None:
    command.extra = {}
    process = command.start(tmp_path, "prove", *SMALL)
    assert eventually(lambda: Step.FLEET in _state(tmp_path)["begun"], within_s=120)
    process.send_signal(signal.SIGINT)
    code, _, err = _end(process)
    assert (code, "--resume" in err) == (1, True), err
    assert command.run(tmp_path, "prove", "--clean").code == 0
    assert not (tmp_path / FILE).exists()
