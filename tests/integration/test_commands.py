"""The commands against a stack that is up, each a process of its own, as in two terminals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.runfile import RunningStack
from infra.target import Target
from ingest.settings import Settings
from tests.harness.command import Result, environment, run
from tests.harness.processes import alive, await_value, descendants

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("up")]

SCENARIO = """
name = "short"
[[fleets]]
name = "short"
devices = 6
batch = 2
phases = [{ seconds = 6, rate = 2 }]
faults = { duplicates = 0.2, disorder = 0.2, malformed = 0.2, spoof = 0.3, storms = 1 }
"""
DOCS = Path(__file__).parents[2] / "docs"


class Up:
    """A ``penstock up`` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "up.log"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infra", "up",
             "--port", "0", "--mqtt-port", "0", "--status-port", "0"],
            cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=self._log.open("w"),
        )  # fmt: skip
        try:
            await_value(self._is_up, 120, "the stack")
        except BaseException:
            self.process.kill()
            raise
        self.mine = [pid for pid, _ in descendants(self.process.pid)]

    def _is_up(self) -> bool | None:
        assert self.process.poll() is None, self._log.read_text()
        return True if "Ctrl-C stops it" in self._log.read_text() else None

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0, self._log.read_text()

    def penstock(self, *arguments: str, stdin: str = "") -> Result:
        return run(self.folder, *arguments, stdin=stdin)

    def facts(self) -> RunningStack:
        return RunningStack(**json.loads((self.folder / ".penstock/stack.json").read_text()))

    def root(self) -> Target:
        stack = self.facts()
        return Target(Settings(**stack.settings), stack.account, stack.roles, True)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up"))
    yield running
    running.process.kill()
    running.process.wait()


def windows(up: Up, device: str, tier: str, n: int) -> dict[str, Any]:
    """The device's newest window of a tier, once it holds ``n`` readings."""

    def newest() -> dict[str, Any] | None:
        result = up.penstock("windows", device, "--tier", tier, "--json")
        if result.code:
            return None
        found = [w for w in result.json if w["n"] >= n]
        return found[0] if found else None

    return await_value(newest, 30, f"{n} readings in a {tier} window of {device}")


def test_a_device_s_readings_are_found_in_its_windows_and_in_the_roster(up: Up) -> None:
    made = up.penstock("device", "create", "press-1", "--group", "hall-2", "--type", "press")
    assert made.code == 0, made.err
    lines = "".join(f'{{"temperature": {20 + i}, "door_open": true}}\n' for i in range(5))
    ran = up.penstock("device", "run", "press-1", "--json", stdin=lines)
    counts = {"readings": 5, "skipped": 0, "refused": 0, "dropped": 0, "waiting": 0}
    assert ran.json == {"device": "press-1", **counts}
    window = windows(up, "press-1", "1h", 5)
    assert window["metrics"]["temperature"]["sum"] == 110
    assert window["metrics"]["door_open"]["mean"] == 1
    roster = {one["device"]: one for one in up.penstock("devices", "--json").json}
    assert (roster["press-1"]["group"], roster["press-1"]["type"]) == ("hall-2", "press")
    assert roster["press-1"]["metrics"]["temperature"]["v"] == 24
    things = {one["device"]: one for one in up.penstock("device", "list", "--json").json}
    assert things["press-1"]["certificate_here"] is True
    assert "hall-2" in up.penstock("devices").out
    assert "temperature" in up.penstock("windows", "press-1").out


@pytest.mark.parametrize("via", ["mqtt", "kinesis"])
def test_a_scenario_is_played_on_the_stack_that_is_up(up: Up, via: str) -> None:
    file = up.folder / f"{via}.toml"
    file.write_text(SCENARIO)
    played = up.penstock("simulate", "--scenario", file.name, "--via", via, "--json")
    assert played.code == 0, played.err
    found = played.json
    assert found["verdict"] == "exact"
    assert found["spool"]["numbered"] == found["sent"]["acknowledged"] > 20
    assert {"duplicates", "disorder", "malformed", "storm"} <= found["faults"].keys()
    assert ("spoof" in found["faults"]) == (via == "mqtt")  # there is nobody to deceive
    assert (up.folder / f".penstock/reports/short-{found['seed']}.html").exists()


def test_a_device_that_finds_no_broker_keeps_its_readings_for_the_next_run(up: Up) -> None:
    assert up.penstock("device", "create", "remote-1").code == 0
    broker = next(p for p, line in descendants(up.process.pid) if "infra.emulator.server" in line)
    os.kill(broker, signal.SIGSTOP)
    try:
        away = up.penstock(
            "device", "run", "remote-1", "--wait", "0.2", stdin='{"level": 1}\n{"level": 2}\n'
        )
    finally:
        os.kill(broker, signal.SIGCONT)
    assert away.code == 1
    assert "2 readings are not acknowledged and wait in the spool" in away.err
    (spool,) = up.folder.glob(".penstock/**/remote-1/spool.sqlite")
    assert spool.parent.stat().st_mode & 0o777 == 0o700
    back = up.penstock("device", "run", "remote-1", "--json", stdin='{"level": 3}\n')
    assert back.json["readings"] == 1
    assert "2 readings of earlier runs wait" in back.err
    window = windows(up, "remote-1", "1h", 3)
    assert window["metrics"]["level"]["sum"] == 6


def test_a_foreign_mqtt_client_publishes_with_the_files_that_create_wrote(up: Up) -> None:
    made = up.penstock("device", "create", "foreign-1", "--json").json
    assert Path(up.folder, made["private_key"]).stat().st_mode & 0o777 == 0o600
    page = (DOCS / "devices.md").read_text().partition("## With another client")[2]
    example = page.split("```python\n")[1].split("```")[0]
    script = up.folder / "foreign.py"
    script.write_text(example)
    subprocess.run(
        [sys.executable, str(script)],
        cwd=up.folder / Path(made["certificate"]).parent,
        check=True,
        timeout=60,
    )
    assert windows(up, "foreign-1", "10s", 1)["metrics"]["temperature"]["last"] == 21.5


def test_lines_that_are_no_readings_are_named_and_the_others_sent(up: Up) -> None:
    up.penstock("device", "create", "sloppy-1")
    lines = 'nonsense\n{"ts": "x", "metrics": {"a": 1}}\n{"Bad": 1}\n[1]\n\n{"ok": 1}\n'
    result = up.penstock("device", "run", "sloppy-1", stdin=lines)
    assert result.code == 1
    assert [f"line {n} is skipped" in result.err for n in (1, 2, 3, 4, 5)] == [True] * 4 + [False]
    assert windows(up, "sloppy-1", "10s", 1)["n"] == 1


def test_a_simulation_with_garbage_and_duplicates_is_exact_and_can_be_verified_again(
    up: Up,
) -> None:
    result = up.penstock(
        "simulate", "--devices", "4", "--rate", "5", "--seconds", "4", "--batch", "3",
        "--garbage", "3", "--duplicates", "4", "--seed", "11", "--ledger", "a.sqlite", "--json",
    )  # fmt: skip
    assert result.code == 0, result.out
    report = result.json
    assert report["verdict"] == "exact"
    assert report["sent"]["readings"] == 4 * 5 * 4 * 3
    assert report["archive"]["rejected"] == report["sent"]["garbage"] == 4 * 6
    assert report["archive"]["repeated"] == report["sent"]["repeated"] * 3 == 4 * 5 * 3
    again = up.penstock("verify", "a.sqlite")
    assert again.code == 0
    assert again.out.strip().endswith(
        "exact: what was sent is what was aggregated and what was archived"
    )


def test_verify_notices_a_window_and_an_object_that_were_taken_away(up: Up) -> None:
    up.penstock("simulate", "--devices", "2", "--rate", "20", "--seconds", "2", "--via", "kinesis",
                "--ledger", "b.sqlite")  # fmt: skip
    assert up.penstock("verify", "b.sqlite").code == 0
    root = up.root()
    dynamodb, table = root.client("dynamodb"), root.settings.windows_table
    entries = _ledger_devices(up.folder / "b.sqlite")
    item = dynamodb.query(
        TableName=table,
        KeyConditionExpression="device = :d",
        ExpressionAttributeValues={":d": {"S": entries[0]}},
    )["Items"][0]
    dynamodb.delete_item(TableName=table, Key={k: item[k] for k in ("device", "window")})
    result = up.penstock("verify", "b.sqlite")
    assert result.code == 1
    assert f"window {item['window']['S']} of {entries[0]} is missing" in result.out
    dynamodb.put_item(TableName=table, Item={**item, "n": {"N": "1"}})
    assert "n is 1, expected" in up.penstock("verify", "b.sqlite").out


def _ledger_devices(path: Path) -> list[str]:
    from simulator.verification.ledger import read_entries

    return sorted({entry.device for entry in read_entries(path)})


def test_status_tells_of_each_shard(up: Up) -> None:
    status = up.penstock("status", "--json").json
    assert len(status["shards"]) == 2
    assert status["restarts"] == 0
    assert "shardId-000000000001" in up.penstock("status").out


def test_a_second_stack_in_the_folder_and_a_busy_port_are_refused_in_one_sentence(
    up: Up, tmp_path: Path
) -> None:
    second = up.penstock("up")
    assert second.code == 1
    assert "is up in this folder already" in second.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for option in ("--port", "--mqtt-port"):
            busy = run(tmp_path, "demo", option, port)
            assert busy.code == 1
            assert f"port {port} is busy" in busy.err
            assert option in busy.err
            assert "Traceback" not in busy.err
        arguments = ["--port", "0", "--mqtt-port", "0", "--status-port", port]
        busy = run(tmp_path, "up", *arguments)
        assert busy.code == 1
        assert f"port {port} is busy" in busy.err


MISTAKES = {
    "no certificate": (["device", "run", "ghost"], "penstock device create ghost"),
    "a wrong device name": (["device", "create", "a/b"], "is not a device name"),
    "a device twice": (["device", "create", "twice"], "choose another name"),
    "an unknown device": (["windows", "ghost"], "has no 1m windows yet"),
    "an unknown tier": (["windows", "ghost", "--tier", "5m"], "choose from 10s, 1m, 1h"),
    "no ledger": (["verify", "nothing.sqlite"], "there is no ledger at nothing.sqlite"),
    "not a ledger": (["verify", "up.log"], "is not a ledger"),
}


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gets_one_sentence(up: Up, arguments: list[str], sentence: str) -> None:
    if "twice" in arguments:
        up.penstock(*arguments)
    result = up.penstock(*arguments)
    assert result.code == 1
    assert sentence in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_demo_by_fan_out_is_exact_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.harness.command.extra", {"PENSTOCK_RETRIEVAL": "fanout"})
    result = run(tmp_path, "demo", "--devices", "4", "--rate", "4", "--seconds", "4", "--json")
    assert result.code == 0, result.err
    assert result.json["verdict"] == "exact"
    assert list((tmp_path / ".penstock").iterdir()) == []


def test_a_stack_that_was_stopped_carries_on_where_it_was_until_it_is_taken_down(
    tmp_path: Path,
) -> None:
    """The second reading lies after a checkpoint of the first stack's worker."""
    up = Up(tmp_path)
    try:
        up.penstock("device", "create", "steady-1")
        up.penstock("device", "run", "steady-1", stdin='{"temperature": 1}\n')
        windows(up, "steady-1", "10s", 1)
        simulated = up.penstock("simulate", "--devices", "3", "--rate", "10", "--seconds", "2",
                                "--via", "kinesis", "--ledger", "c.sqlite")  # fmt: skip
        assert simulated.code == 0, simulated.out
        up.interrupt()
        assert not [pid for pid in up.mine if alive(pid)]
        gone = up.penstock("status")
        assert gone.code == 1
        assert "start a stack with `penstock up`" in gone.err
        up.start()
        second = up.penstock("device", "run", "steady-1", stdin='{"temperature": 2}\n')
        assert second.code == 0, second.err
        assert await_value(lambda: _total(up, "steady-1"), 30, "both readings") == (2, 3)
        assert up.penstock("verify", "c.sqlite").code == 0
        _take_down(up)
    finally:
        up.process.kill()
        up.process.wait()


def _take_down(up: Up) -> None:
    refused = up.penstock("down")
    assert refused.code == 1
    assert "the private keys of steady-1" in refused.err
    assert up.process.poll() is None
    result = up.penstock("down", "--yes")
    assert result.code == 0, result.err
    assert up.process.wait(10) == 0
    assert not [pid for pid in up.mine if alive(pid)]
    assert not (up.folder / ".penstock/stack").exists()
    assert not (up.folder / ".penstock/stack.json").exists()
    assert "nothing is up" in up.penstock("down").err


def _total(up: Up, device: str) -> tuple[int, float] | None:
    found = up.penstock("windows", device, "--tier", "1h", "--json")
    if found.code:
        return None
    n = sum(w["n"] for w in found.json)
    return (n, sum(w["metrics"]["temperature"]["sum"] for w in found.json)) if n == 2 else None
