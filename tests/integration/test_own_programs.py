"""The programs of docs/own-programs.md run as they stand there, with what `penstock env` says."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.tables.watched import read_watched
from tests.harness.processes import await_value
from tests.integration.test_commands import Up

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("up")]

PAGE = (Path(__file__).parents[2] / "docs" / "own-programs.md").read_text()


def programs(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("own-programs"))
    try:
        assert running.penstock("device", "create", "press-1").code == 0
        lines = "".join(f'{{"temperature": {20 + i}}}\n' for i in range(5))
        assert running.penstock("device", "run", "press-1", stdin=lines).code == 0
        yield running
    finally:
        running.process.kill()
        running.process.wait()


@pytest.fixture(scope="module")
def variables(up: Up) -> dict[str, str]:
    printed = up.penstock("env").out
    pairs = (shlex.split(line)[1].split("=", 1) for line in printed.splitlines())
    return dict(pair for pair in pairs)


def run(up: Up, variables: dict[str, str], *command: str) -> str | None:
    ended = subprocess.run(
        command, cwd=up.folder, capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true", **variables},
    )  # fmt: skip
    return ended.stdout if ended.returncode == 0 and ended.stdout else None


def test_env_prints_what_json_says_and_every_variable_is_documented(
    up: Up, variables: dict[str, str]
) -> None:
    document: dict[str, Any] = up.penstock("env", "--json").json
    assert document.keys() == variables.keys()
    assert all(f"`{name}`" in PAGE for name in variables)
    assert variables["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")


def test_windows_are_read_with_boto3_alone(up: Up, variables: dict[str, str]) -> None:
    program = programs("python")[0]

    def all_five() -> list[str] | None:
        out = run(up, variables, sys.executable, "-c", program)
        rows = [line.split() for line in (out or "").splitlines()]
        return [row[1] for row in rows] if sum(int(row[2]) for row in rows) == 5 else None

    assert set(await_value(all_five, 30, "five readings in the windows")) == {"temperature"}


def test_a_dashboard_of_ones_own_marks_what_it_shows_and_gets_it_live(up: Up) -> None:
    printed = up.penstock("env", "--watch").out
    pairs = (shlex.split(line)[1].split("=", 1) for line in printed.splitlines())
    watching = dict(pair for pair in pairs)
    program = programs("python")[1].replace("range(60)", "range(1)")
    shown = await_value(
        lambda: run(up, watching, sys.executable, "-c", program), 30, "the newest value"
    )
    device, metric, value = shown.split()
    assert (device, metric, float(value)) == ("press-1", "temperature", 24.0)
    marks = up.penstock("env", "--json").json["PENSTOCK_STATUS_TABLE"]
    read = (
        "import boto3, sys\nitem = boto3.client('dynamodb').get_item(TableName=sys.argv[1], "
        "Key={'worker': {'S': '#watched'}})['Item']\nprint(item)"
    )
    item = ast.literal_eval(run(up, watching, sys.executable, "-c", read, marks) or "{}")
    assert "press-1" in read_watched(item, time.time())
    delete = (
        f"import boto3\nboto3.client('dynamodb').delete_item(TableName='{marks}', "
        "Key={'worker': {'S': 'somebody'}})"
    )
    assert run(up, watching, sys.executable, "-c", delete + "\nprint('deleted')") is None


def test_the_api_answers_curl(up: Up, variables: dict[str, str]) -> None:
    program = next(one for one in programs("sh") if one.startswith("curl"))
    out = await_value(
        lambda: run(up, variables, "sh", "-c", program), 30, "an answer of the read API"
    )
    assert '"device":"press-1"' in out
    assert '"temperature"' in out


def test_the_archive_is_read_with_pyarrow_and_pandas(up: Up, variables: dict[str, str]) -> None:
    program = programs("python")[2]

    def all_five() -> dict[str, float] | None:
        out = run(up, variables, sys.executable, "-c", program)
        rows = [line.split() for line in (out or "").splitlines() if "Name:" not in line]
        described = {name: float(value) for name, value in rows}
        return described if described.get("count") == 5 else None

    described = await_value(all_five, 60, "five readings in the archive")
    assert (described["min"], described["max"], described["mean"]) == (20, 24, 22)


def test_the_credentials_of_env_can_write_nothing(up: Up, variables: dict[str, str]) -> None:
    attempts = {
        "dynamodb": "delete_item(TableName=e['PENSTOCK_WINDOWS_TABLE'], "
        "Key={'device': {'S': 'press-1'}, 'window': {'S': '1m#x'}})",
        "s3": "put_object(Bucket=e['PENSTOCK_BUCKET'], Key='telemetry/v1/x', Body=b'')",
        "kinesis": "put_record(StreamName=e['PENSTOCK_STREAM'], Data=b'', PartitionKey='x')",
        "iot": "create_thing(thingName='x')",
    }
    for service, call in attempts.items():
        program = (
            "import boto3, botocore.exceptions, os\ne = os.environ\n"
            f"try:\n    boto3.client('{service}').{call}\n"
            "except botocore.exceptions.ClientError as error:\n"
            "    print(error.response['Error']['Code'])\n"
        )
        assert "AccessDenied" in (run(up, variables, sys.executable, "-c", program) or "allowed")
