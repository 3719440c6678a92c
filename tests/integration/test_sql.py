"""``penstock sql`` as a user runs it, on an archive in the embedded AWS."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.emulator.process import Emulator
from infra.target import Target
from tests.harness import command
from tests.harness.command import run, start
from tests.harness.known_archive import HOURS, build, sent
from tests.harness.processes import await_value
from tests.integration.conftest import STACK, commands_on, target_of

pytestmark = STACK
NAME = "asked"
COUNTS = "SELECT device_id, count(*) AS n FROM readings GROUP BY ALL ORDER BY ALL"


@pytest.fixture(scope="module")
def archive(emulator: Emulator) -> Target:
    target = target_of(emulator, NAME)
    bucket = target.settings.bucket(target.account)
    s3 = target.client("s3")
    s3.create_bucket(Bucket=bucket)
    for key, (body, metadata) in build().objects.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata)
    return target


@pytest.fixture(autouse=True)
def on_aws(archive: Target, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with commands_on(emulator, NAME, monkeypatch):
        yield


def expected() -> dict[str, int]:
    devices = sorted({one.device for one in sent()})
    return {device: sum(one.device == device for one in sent()) for device in devices}


def test_the_answer_is_a_table_csv_json_or_a_file(tmp_path: Path) -> None:
    table = run(tmp_path, "sql", COUNTS)
    assert [line.split() for line in table.out.splitlines()] == [
        ["device_id", "n"],
        *([device, str(n)] for device, n in expected().items()),
    ]
    assert f"3 rows from {HOURS} objects" in table.err
    csv = run(tmp_path, "sql", "-", "--csv", stdin=COUNTS)
    assert csv.out.splitlines() == ["device_id,n", *(f"{d},{n}" for d, n in expected().items())]
    document = run(tmp_path, "sql", COUNTS, "--json")
    assert json.loads(document.out) == [{"device_id": d, "n": n} for d, n in expected().items()]
    assert run(tmp_path, "sql", COUNTS, "--parquet", "answer.parquet").out == ""
    assert pq.read_table(tmp_path / "answer.parquet")["n"].to_pylist() == [*expected().values()]


def test_what_cannot_be_asked_is_said_in_a_sentence(tmp_path: Path) -> None:
    wrong = run(tmp_path, "sql", "SELECT temprature FROM readings")
    assert (wrong.code, wrong.out) == (1, "")
    assert 'column "temprature" not found' in wrong.err
    assert "Traceback" not in wrong.err
    assert run(tmp_path, "sql", COUNTS, "--csv", "--json").code == 2
    late = run(tmp_path, "sql", "SELECT (seq || 'x')::INTEGER FROM readings", "--json")
    assert (late.code, "Traceback" in late.err) == (1, False)


LONG = (
    "SELECT count(*) FROM readings a, range(100000000) b, range(100000) c "
    "WHERE a.seq + b.range % 7 + c.range % 11 = 3"
)


def test_ctrl_c_ends_a_long_query_and_removes_its_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(command.extra, "TMPDIR", str(tmp_path))
    process = start(tmp_path, "sql", LONG)

    def copies() -> bool | None:
        return len([*tmp_path.rglob("penstock-sql-*/**/*.parquet")]) == HOURS or None

    try:
        await_value(copies, 60, "the segments' copies")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()  # the query would compute for years
    assert process.returncode == 130, errors
    assert not [*tmp_path.glob("penstock-sql-*")]
