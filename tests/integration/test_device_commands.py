"""``penstock device …`` against a stack that is up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from devices.spool.spool import Spool
from tests.harness import command
from tests.harness.processes import descendants
from tests.integration.test_commands import Up, windows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("device-commands")]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("device-commands"))
    yield running
    running.process.kill()
    running.process.wait()


def test_a_device_without_credentials_and_without_any_network_stores_and_the_next_run_delivers(
    up: Up, tmp_path: Path
) -> None:
    """In a network namespace without a route, in a folder of its own, with no AWS variable."""
    allowed = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip("network namespaces are not permitted here")
    made = up.penstock("device", "create", "island-1", "--json").json
    here = tmp_path / ".penstock" / "devices" / "island-1"
    shutil.copytree(Path(up.folder, made["certificate"]).parent, here)
    away = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "infra", "device", "run", "island-1",
         "--wait", "1", "--json"],
        input='{"level": 1}\n{"level": 2}\n', capture_output=True, text=True, check=False,
        cwd=tmp_path, env=command.environment(), timeout=60,
    )  # fmt: skip
    assert json.loads(away.stdout)["waiting"] == 2, away.stderr
    assert "2 readings are not acknowledged and wait in the spool" in away.stderr
    assert away.returncode == 1
    back = command.run(tmp_path, "device", "run", "island-1", "--json", stdin='{"level": 3}\n')
    assert (back.code, back.json["waiting"]) == (0, 0)
    assert "2 readings of earlier runs wait" in back.err
    assert windows(up, "island-1", "1h", 3)["metrics"]["level"]["sum"] == 6


def test_a_broker_that_does_not_answer_is_said_while_the_device_runs(up: Up) -> None:
    assert up.penstock("device", "create", "deaf-1").code == 0
    broker = next(p for p, line in descendants(up.process.pid) if "infra.emulator.server" in line)
    os.kill(broker, signal.SIGSTOP)
    try:
        away = up.penstock("device", "run", "deaf-1", "--wait", "25", stdin='{"level": 1}\n')
    finally:
        os.kill(broker, signal.SIGCONT)
    assert "no connection to" in away.err or "no broker answers" in away.err
    assert away.err.count("offline") == 1
    assert "1 readings wait in the spool" in away.err


def test_what_an_operator_does_is_in_the_log_of_acts(up: Up) -> None:
    assert up.penstock("device", "create", "noted-1").code == 0
    assert up.penstock("device", "announce", "noted-2", "--group", "hall").code == 0
    assert up.penstock("device", "configure", "noted-1", "--batch", "5", "--wait", "0").code == 0
    assert up.penstock("device", "revoke", "noted-1").code == 0
    target = up.root()
    s3, bucket = target.client("s3"), target.settings.bucket(target.account)
    found = s3.list_objects_v2(Bucket=bucket, Prefix="acts/v1/")["Contents"]
    acts = {
        one["Key"]: json.loads(s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read())
        for one in found
    }
    mine = {key: act for key, act in acts.items() if "noted-" in str(act.get("details"))}
    assert [act["what"] for act in mine.values()] == [
        "create device noted-1", "announce 1 devices", "configure device noted-1",
        "revoke the certificates of noted-1",
    ]  # fmt: skip
    assert [acts[key.removesuffix(".json") + ".done.json"]["done"] for key in mine] == [True] * 4
    forbidden = target.client("s3", "operator")
    with pytest.raises(ClientError, match="AccessDenied"):
        forbidden.delete_object(Bucket=bucket, Key=next(iter(mine)))
    with pytest.raises(ClientError, match="AccessDenied"):
        forbidden.put_object(Bucket=bucket, Key="telemetry/v1/x", Body=b"")


def test_configuring_or_deleting_a_device_that_does_not_exist_is_an_error(up: Up) -> None:
    for arguments in (("configure", "nope"), ("configure", "nope", "--batch", "5"),
                      ("delete", "nope")):  # fmt: skip
        ran = up.penstock("device", *arguments)
        assert (ran.code, "there is no device nope" in ran.err) == (1, True), arguments


def test_a_deleted_device_is_gone_and_its_unsent_readings_are_not_deleted_unasked(up: Up) -> None:
    made = up.penstock("device", "create", "gone-1", "--json").json
    folder = Path(up.folder, made["certificate"]).parent
    with Spool(folder, now=lambda: 1) as spool:
        spool.add(1, {"level": 1})
        running = up.penstock("device", "delete", "gone-1", "--yes")
        assert (running.code, "is running here" in running.err) == (1, True)
    kept = up.penstock("device", "delete", "gone-1")
    assert (kept.code, "1 readings in" in kept.err) == (1, True)
    assert folder.exists()
    deleted = up.penstock("device", "delete", "gone-1", "--yes")
    assert (deleted.code, deleted.out) == (0, "gone-1 is deleted, with 1 certificates\n")
    assert not folder.exists()
    assert "gone-1" not in up.penstock("device", "list", "--json").out
    assert "gone-1" not in up.penstock("devices", "--json").out
    iot = up.root().client("iot")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_certificate(certificateId=made["certificate_id"])
