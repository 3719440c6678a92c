"""One embedded AWS, and one deployed stack in it, for all tests of a worker.

Mark a module that uses them with ``pytestmark = STACK``, so that its tests share one process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from infra.aws.stacks.cloudformation import deploy, ensure_ttl
from infra.emulator.process import Emulator
from infra.emulator.profile import STRICT, Profile
from infra.local.stack import LOCAL_SETTINGS
from infra.target import Target
from ingest.settings import Settings
from tests.harness.stream import read_stream

STACK: Final = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
ROLES: Final = ("worker", "dashboard", "reader", "operator", "simulator", "redrive")
T = TypeVar("T")


def eventually(attempt: Callable[[], T], *, within_s: float = 10.0) -> T:
    """What ``attempt`` returns once it is true; the last value when it never is."""
    deadline = time.monotonic() + within_s
    while not (value := attempt()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


def target_of(emulator: Emulator, stack: str = "penstock", **settings: Any) -> Target:
    """Clients of ``stack`` in the embedded AWS, as its root until roles are known."""
    resolved = Settings(
        **{
            **LOCAL_SETTINGS,
            "stack": stack,
            "endpoint_url": emulator.endpoint_url,
            "iot_host": "127.0.0.1",
            "iot_port": emulator.mqtt_port,
            "iot_ca": emulator.ca_path,
            **settings,
        }
    )
    target = Target(resolved, account="", local=True)
    target.account = target.client("sts").get_caller_identity()["Account"]
    return target


def records(target: Target, stream: str) -> list[dict[str, Any]]:
    """Every record of a stream, shard by shard."""
    shards = read_stream(target.client("kinesis"), stream)
    return [record for found in shards.values() for record in found]


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A running embedded AWS, empty at first."""
    running = Emulator.start(tmp_path_factory.mktemp("emulator"), persist=False)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def pipeline(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """The stack ``penstock``, deployed with every role. ``client(service, role)`` works as one
    of ``ROLES``, or as the account's root when no role is named."""
    target = target_of(emulator, devices_dir=tmp_path_factory.mktemp("devices"))
    outputs = deploy(
        target.client("cloudformation"),
        target.settings.stack,
        {"ShardCount": "2", "DeletionProtection": "false", "WithSimulator": "true"},
        on_event=lambda _: None,
        interval=0.05,
    )
    target.roles |= {role: outputs[f"{role.capitalize()}RoleArn"] for role in ROLES}
    ensure_ttl(target.client("dynamodb"), target.settings.windows_table)
    return target


class Broker:
    """An embedded AWS of this module's own, that can be stopped, paused and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "emulator"
        self._emulator = Emulator.start(self._folder, persist=True)
        self._ports = (int(self._emulator.endpoint_url.rsplit(":", 1)[1]), self._emulator.mqtt_port)
        self.target = target_of(self._emulator, devices_dir=folder / "devices")
        deploy(
            self.target.client("cloudformation"),
            self.target.settings.stack,
            {"ShardCount": "1", "DeletionProtection": "false", "WithSimulator": "false"},
            on_event=lambda _: None,
            interval=0.05,
        )

    def stop(self) -> None:
        """Stop it; its state is saved."""
        self._emulator.stop()

    def start(self) -> None:
        """Start it again, on the same ports and with its state."""
        self._emulator = Emulator.start(
            self._folder, gateway_port=self._ports[0], mqtt_port=self._ports[1], persist=True
        )

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """It is there, and does nothing: connections stay open, nothing is acknowledged."""
        os.kill(self._emulator.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._emulator.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    running = Broker(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


@contextlib.contextmanager
def commands_on(emulator: Emulator, stack: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The embedded AWS in the place of AWS, for commands that are started meanwhile. A thing type
    can be deleted a second after its deprecation."""
    emulator.become(Profile(name="hasty", deprecation_s=1.0))
    values = {
        "PENSTOCK_ENDPOINT_URL": emulator.endpoint_url,
        "PENSTOCK_STACK": stack,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    monkeypatch.setattr("tests.harness.command.extra", values)
    try:
        yield
    finally:
        emulator.become(STRICT)
