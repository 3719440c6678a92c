"""Schemas as a user works with them, on a local stack with its worker: quarantine, grow, admit."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import command
from tests.integration.test_commands import Up

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("schemas")]

ROOT = Path(__file__).parents[2]
LEDGER = "sent.sqlite"
LOAD = ("simulate", "--devices", "4", "--rate", "4", "--seconds", "8", "--batch", "3",
        "--outside", "5", "--duplicates", "4", "--seed", "3", "--ledger", LEDGER)  # fmt: skip


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


def told(folder: Path, *arguments: str) -> Any:
    """What a command says as JSON; it must succeed."""
    done = command.run(folder, *arguments, "--json")
    assert done.code == 0, done.err + done.out
    return json.loads(done.out)


def grow(folder: Path) -> None:
    """Every schema takes anything that its metrics may be, and one metric more."""
    for path in folder.glob("*.toml"):
        text = re.sub(r"^max = \d+", "max = 1e10", path.read_text(), flags=re.MULTILINE)
        text = text.replace("bool = true", "max = 1e10").replace("version = 1", "version = 2")
        path.write_text(f"{text}\n[metrics.unlisted]\n")


def test_what_is_outside_is_quarantined_and_admitted_once_when_the_schema_grows(up: Up) -> None:
    folder = up.folder
    shutil.copytree(ROOT / "schemas", folder / "schemas")
    applied = told(folder, "schema", "apply")
    assert applied["added"] == ["compressor", "meter", "pump", "thermostat"]
    time.sleep(max(0.0, applied["since"] / 1000 - time.time()))  # until then nothing is judged

    first = told(folder, *LOAD)
    assert first["verdict"] == "exact", first["differences"]
    quarantined = first["dispositions"]["quarantined"]
    assert quarantined > 20
    rejects = told(folder, "rejects", "list", "--reason", "quarantined")
    assert rejects["found"] == quarantined

    nothing = told(folder, "schema", "admit")
    assert nothing["admitted"] == 0
    assert nothing["outside_still"] + nothing["repeated"] == quarantined

    grow(folder / "schemas")
    assert told(folder, "schema", "apply")["changed"] == applied["added"]
    admitted = told(folder, "schema", "admit")
    assert admitted["admitted"] + admitted["repeated"] + admitted["accepted_before"] == quarantined
    assert admitted["admitted"] > 15

    listed = told(folder, "rejects", "list", "--reason", "quarantined", "--last", "9999")["rejects"]
    assert {one["redriven"] for one in listed} == {"ok"}

    again = told(folder, "schema", "admit")
    assert (again["admitted"], again["would_admit"]) == (0, 0)
    verified = told(folder, "verify", LEDGER)
    assert verified["verdict"] == "exact", verified["differences"]
    assert verified["dispositions"]["quarantined"] == quarantined
    ok = verified["dispositions"]["ok"] - first["dispositions"]["ok"]
    assert ok == admitted["admitted"]
    assert told(folder, "audit")["verdict"] == "clean"

    rows = told(folder, "sql", "SELECT count(*) AS n, count(unlisted) AS u FROM readings_pump")
    assert rows[0]["n"] > 0
    assert rows[0]["u"] > 0
