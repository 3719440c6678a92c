"""Commands to devices over MQTT, against a stack that is up: once each, also to who was away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from devices import Command, CommandRejectedError, Device
from devices.commands.journal import INTERRUPTED
from ingest.commands.document import KEY, Commands
from ingest.commands.store import read_commands
from ingest.topic import SHADOW
from tests.harness.command import environment
from tests.harness.processes import await_value
from tests.integration.test_commands import Up

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands-to-devices")]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("commands"))
    yield running
    running.process.kill()
    running.process.wait()


def made(up: Up, name: str) -> Path:
    """The folder of a new device."""
    certificate: str = up.penstock("device", "create", name, "--json").json["certificate"]
    return Path(up.folder, certificate).parent


def send(up: Up, name: str, command: str, *options: str) -> Any:
    return up.penstock("device", "command", "send", name, command, *options, "--json").json


def listed(up: Up, name: str) -> dict[str, dict[str, Any]]:
    rows = up.penstock("device", "command", "list", name, "--json").json
    return {one["id"]: one for one in rows}


def ended(up: Up, name: str, id_: str) -> dict[str, Any]:
    def final() -> dict[str, Any] | None:
        one = listed(up, name)[id_]
        return one if one["final"] else None

    return await_value(final, 30, f"the end of {id_}")


class Valve:
    """What a device's commands act on."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []

    def obey(self, command: Command) -> Any:
        if command.name != "open":
            raise CommandRejectedError(f"a valve knows no {command.name}")
        self.done.append((command.name, command.args))
        return {"percent": command.args["percent"]}


def test_a_device_does_each_command_once_while_it_is_there_and_when_it_comes_back(up: Up) -> None:
    folder, valve = made(up, "valve-1"), Valve()
    waits = send(up, "valve-1", "open", "--arg", "percent=20", "--wait", "0")
    assert (waits["status"], waits["final"]) == ("CREATED", False)
    with Device.open(folder) as device:
        device.on_command(valve.obey)
        assert ended(up, "valve-1", waits["id"])["status"] == "SUCCEEDED"
        now = send(up, "valve-1", "open", "--arg", "percent=60", "--id", "command-60")
        assert (now["status"], now["detail"]) == ("SUCCEEDED", '{"percent": 60}')
        again = send(up, "valve-1", "open", "--arg", "percent=60", "--id", "command-60")
        assert again == now
        refused = up.penstock("device", "command", "send", "valve-1", "fly")
        assert (refused.code, "REJECTED: a valve knows no fly" in refused.out) == (1, True)
    # the shadow is told again what it has an answer to, as after an answer that was lost
    shadows = up.root().client("iot-data", "operator")
    repeat = {"state": {"desired": {KEY: {"command-60": _as_sent(now)}}}}
    _update(shadows, "valve-1", repeat)
    with Device.open(folder) as device:
        device.on_command(valve.obey)
        await_value(lambda: not _commands(shadows, "valve-1").waiting or None, 20, "no command")
    assert listed(up, "valve-1")["command-60"] == {
        name: value for name, value in now.items() if name != "device"
    }
    assert [args["percent"] for _, args in valve.done] == [20, 60]
    shown = up.penstock("device", "command", "show", "valve-1", "command-60").out
    assert "SUCCEEDED" in shown
    assert up.penstock("device", "configure", "valve-1", "--json").json["desired"] == {}


def test_a_command_that_expired_while_the_device_was_away_is_not_done(up: Up) -> None:
    folder, valve = made(up, "late-1"), Valve()
    sent = send(up, "late-1", "open", "--arg", "percent=1", "--expires-s", "5", "--wait", "0")

    def missed() -> dict[str, Any] | None:
        one = listed(up, "late-1")[sent["id"]]
        return one if one["status"] == "TIMED_OUT" else None

    assert await_value(missed, 20, "the deadline")["final"] is False
    with Device.open(folder) as device:
        device.on_command(valve.obey)
        assert ended(up, "late-1", sent["id"])["status"] == "TIMED_OUT"
    assert not valve.done


def test_a_device_that_is_killed_while_it_does_a_command_does_not_do_it_again(
    up: Up, tmp_path: Path
) -> None:
    made(up, "killed-1")
    log, obey = tmp_path / "log", tmp_path / "obey"
    obey.write_text(f'#!/bin/sh\necho "$1" >> {log}\nsleep 9\n')
    obey.chmod(0o700)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "infra", "device", "run", "killed-1", "--on-command", str(obey)],
            cwd=up.folder, env=environment(), stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def kill(running: subprocess.Popen[bytes]) -> None:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()

    running = start()
    try:
        sent = send(up, "killed-1", "open", "--wait", "0", "--expires-s", "300")
        await_value(lambda: log.exists() or None, 30, "the command's effect")
        await_value(
            lambda: listed(up, "killed-1")[sent["id"]]["status"] == "IN_PROGRESS" or None, 20,
            "its progress",
        )  # fmt: skip
    finally:
        kill(running)
    running = start()
    try:
        after = ended(up, "killed-1", sent["id"])
    finally:
        kill(running)
    assert (after["status"], after["detail"]) == ("FAILED", INTERRUPTED)
    assert log.read_text() == "open\n"


def test_the_order_of_sending_is_the_order_of_doing(up: Up) -> None:
    folder, valve = made(up, "order-1"), Valve()
    sent = [
        send(up, "order-1", "open", "--arg", f"percent={n}", "--wait", "0")["id"] for n in range(4)
    ]
    with Device.open(folder) as device:
        device.on_command(valve.obey)
        for id_ in sent:
            assert ended(up, "order-1", id_)["status"] == "SUCCEEDED"
    assert [args["percent"] for _, args in valve.done] == [0, 1, 2, 3]


def test_a_handler_may_use_the_device(up: Up) -> None:
    folder, measured = made(up, "asked-1"), threading.Event()
    with Device.open(folder) as device:

        @device.on_command
        def obey(command: Command) -> int:
            identity = device.add({"level": 7.0})
            device.drain(20)
            measured.set()
            return identity.seq if command.name == "measure" else -1

        sent = send(up, "asked-1", "measure", "--wait", "30")
    assert (sent["status"], sent["detail"], measured.is_set()) == ("SUCCEEDED", "0", True)


def test_what_cannot_be_sent_is_said(up: Up) -> None:
    made(up, "wrong-1")
    for arguments, text in (
        (("nope-1", "open"), "there is no device nope-1"),
        (("wrong-1", "Open"), "is no command's name"),
        (("wrong-1", "open", "--id", "a b"), "is no command's id"),
        (("wrong-1", "open", "--arg", "Percent=1"), "is no argument's name"),
    ):
        ran = up.penstock("device", "command", "send", *arguments, "--wait", "0")
        assert (ran.code, text in ran.err) == (1, True), ran.err
    missing = up.penstock("device", "command", "show", "wrong-1", "cafe")
    assert (missing.code, "no command cafe to wrong-1" in missing.err) == (1, True)


def test_who_is_no_operator_sends_no_command_and_what_is_sent_is_in_the_log_of_acts(
    up: Up,
) -> None:
    made(up, "acts-1")
    target = up.root()
    for role in ("reader", "dashboard", "worker"):
        with pytest.raises(ClientError, match="Forbidden"):
            _update(target.client("iot-data", role), "acts-1", {"state": {"desired": {KEY: {}}}})
    before = time.time_ns()
    sent = send(up, "acts-1", "open", "--wait", "0")
    assert before // 1_000_000 - 2000 < sent["at"]
    s3, bucket = target.client("s3"), target.settings.bucket(target.account)
    found = s3.list_objects_v2(Bucket=bucket, Prefix="acts/v1/")["Contents"]
    bodies = [s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in found]
    what = f"send the command open ({sent['id']}) to device acts-1".encode()
    assert any(what in body for body in bodies)


def _as_sent(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("name", "args", "at", "until", "by")}


def _update(shadows: Any, name: str, document: Any) -> None:
    payload = json.dumps(document).encode()
    shadows.update_thing_shadow(thingName=name, shadowName=SHADOW, payload=payload)


def _commands(shadows: Any, name: str) -> Commands:
    return read_commands(shadows, name)
