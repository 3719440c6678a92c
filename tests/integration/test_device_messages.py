"""Subscriptions, presence and device shadow, against a real broker."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.async_device import AsyncDevice, DeviceOptions
from devices.errors import SubscribeRefusedError
from devices.events import ClockWrong, Event
from devices.identity import Identity
from devices.mqtt.client_factory import TelemetryClientFactory
from devices.mqtt.connection import Connection
from devices.mqtt.presence import Presence
from devices.reporting import Reporting
from infra.target import Target
from ingest.topic import (
    SHADOW,
    acknowledgement_topic,
    presence_topic,
    shadow_topic,
    telemetry_topic,
)
from tests.integration.conftest import STACK, Broker, eventually, records
from tests.integration.test_telemetry_client import _arrived, _device, _run

ROOT = Path(__file__).parents[2]
pytestmark = STACK


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    running = Broker(tmp_path_factory.mktemp("messages"))
    yield running
    running.stop()


def _watcher(target: Target, name: str) -> Identity:
    """A device that may hear what others say of themselves."""
    iot, device = target.client("iot"), _device(target, name)
    statement = {"Effect": "Allow", "Action": ["iot:Subscribe", "iot:Receive"], "Resource": "*"}
    iot.create_policy(
        policyName=f"watch-{name}",
        policyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    arn = iot.describe_certificate(certificateId=device.config.certificate_id)
    iot.attach_policy(
        policyName=f"watch-{name}", target=arn["certificateDescription"]["certificateArn"]
    )
    return device


class Faults:
    """What is reported to the event loop."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[BaseException] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.queue.put_nowait(context["exception"])
        )


async def _open(connection: Connection) -> None:
    """Open, and return when its topics are subscribed."""
    ready = asyncio.Event()

    async def greeting() -> None:
        ready.set()

    connection.on_connect(greeting)
    await connection.open(20)
    await asyncio.wait_for(ready.wait(), 10)


def test_a_handler_hears_its_topic_before_and_after_a_reconnection(broker: Broker) -> None:
    device = _device(broker.target, "hears-1")
    topic = acknowledgement_topic("penstock", "hears-1")

    async def scenario() -> list[bytes]:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        ready: asyncio.Queue[int] = asyncio.Queue()
        connection = Connection(device)
        connection.subscribe(topic, heard.put_nowait)

        async def greeting() -> None:
            ready.put_nowait(connection.count)

        connection.on_connect(greeting)
        await connection.open(20)
        found = []
        for payload in (b"1", b"2"):
            await asyncio.wait_for(ready.get(), 30)
            publish = broker.target.client("iot-data").publish
            await asyncio.to_thread(publish, topic=topic, qos=1, payload=payload)
            found.append(await asyncio.wait_for(heard.get(), 10))
            if payload == b"1":
                await asyncio.to_thread(broker.stop)
                await asyncio.to_thread(broker.start)
        await connection.stop()
        return found

    assert _run(scenario()) == [b"1", b"2"]


def test_a_device_may_not_hear_what_is_said_to_another(pipeline: Target) -> None:
    device = _device(pipeline, "curious-1")

    async def scenario() -> BaseException:
        faults = Faults()
        connection = Connection(device)
        connection.subscribe(acknowledgement_topic("penstock", "curious-2"), lambda _: None)
        await connection.open(20)
        fault = await asyncio.wait_for(faults.queue.get(), 10)
        await connection.stop()
        return fault

    fault = _run(scenario())
    assert isinstance(fault, SubscribeRefusedError)
    assert "curious-1 subscribe to ack/penstock/curious-2" in str(fault)


@pytest.mark.parametrize("graceful", [True, False])
def test_a_device_is_online_while_it_is_and_offline_afterwards(
    pipeline: Target, graceful: bool
) -> None:
    device = _device(pipeline, f"present-{graceful}")
    watching = _watcher(pipeline, f"watcher-{graceful}")
    before = len(records(pipeline, pipeline.settings.stream))

    async def scenario() -> list[Any]:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        watcher = Connection(watching)
        watcher.subscribe(presence_topic("penstock", device.device_id), heard.put_nowait)
        await _open(watcher)
        presence = Presence(device.config, "s1")
        session = TelemetryClientFactory(will=presence.will)
        session.add_setup(presence.attach)
        opened: list[Any] = []
        session.add_setup(opened.append)
        client = session(device)
        (connection,) = opened
        await client.connect()
        said = [json.loads(await asyncio.wait_for(heard.get(), 10))]
        if not graceful:  # a second connection of its name: the broker closes the first
            connection._client.stop = lambda _: None
            other = Connection(device)
            await other.open(20)
        else:
            await client.close()
        said.append(json.loads(await asyncio.wait_for(heard.get(), 10)))
        if not graceful:
            del connection._client.stop
            await client.close()
            await other.stop()
        await watcher.stop()
        return said

    assert [one["state"] for one in _run(scenario())] == ["online", "offline"]
    assert len(records(pipeline, pipeline.settings.stream)) == before


def test_a_device_may_not_say_that_another_is_offline(pipeline: Target) -> None:
    device = _device(pipeline, "slanders-1")

    async def scenario() -> int | None:
        connection = Connection(device)
        await connection.open(20)
        code = await connection.publish(presence_topic("penstock", "slanders-2"), b"{}")
        assert await connection.publish(shadow_topic("slanders-2", "update"), b"{}") == 0x87
        await connection.stop()
        return code

    assert _run(scenario()) == 0x87


def _reported(target: Target, device: str) -> Any:
    answer = target.client("iot-data").get_thing_shadow(thingName=device, shadowName=SHADOW)
    return json.loads(answer["payload"].read())["state"].get("reported", {})


def _desire(target: Target, device: str, **desired: Any) -> None:
    target.client("iot-data").update_thing_shadow(
        thingName=device,
        shadowName=SHADOW,
        payload=json.dumps({"state": {"desired": desired}}).encode(),
    )


def test_a_running_device_takes_its_interval_and_batch_from_its_shadow_live(
    pipeline: Target,
) -> None:
    device = _device(pipeline, "remote-1")
    _desire(pipeline, "remote-1", interval_s=3600, batch=3)  # before it connects
    warnings: list[str] = []

    def on_event(event: Event) -> None:
        if event.level >= logging.WARNING:
            warnings.append(str(event))

    async def scenario() -> int:
        options = DeviceOptions(reporting=Reporting(0.0, 1, 1.0))
        async with AsyncDevice(device, options, on_event=on_event) as running:
            await _until(lambda: running.reporting == Reporting(3600, 3, 1.0))
            await _until(lambda: _reported(pipeline, "remote-1").get("batch") == 3)
            await running.wait_interval()
            running.add({"a": 0})
            second = asyncio.create_task(running.wait_interval())
            done, _ = await asyncio.wait([second], timeout=0.3)
            assert not done  # it waits for an hour
            _desire(pipeline, "remote-1", interval_s=0, age_s=0.001)
            await asyncio.wait_for(second, 20)
            for number in range(1, 7):
                await running.wait_interval()
                running.add({"a": number})
            return await running.drain(20)

    assert _run(scenario()) == 0
    assert eventually(lambda: _arrived(pipeline, "remote-1") == set(range(7)))
    said = _reported(pipeline, "remote-1")
    assert (said["interval_s"], said["batch"], said["age_s"]) == (0, 3, 1.0)
    assert [one["setting"] for one in said["rejected"]] == ["age_s"]
    assert warnings == ["desired age_s = 0.001 is not applied: must be 0.01 to 3600"]


async def _until(condition: Any) -> None:
    assert await asyncio.to_thread(eventually, condition, within_s=20)


def test_telemetry_may_be_published_by_its_own_topic_too(pipeline: Target) -> None:
    device = _device(pipeline, "plain-1")

    async def scenario() -> int | None:
        connection = Connection(device)
        await connection.open(20)
        code = await connection.publish(telemetry_topic("penstock", "plain-1"), b"{}")
        await connection.stop()
        return code

    assert (_run(scenario()) or 0) < 0x80


def test_a_device_whose_clock_is_an_hour_ahead_says_so_when_it_connects(pipeline: Target) -> None:
    device = _device(pipeline, "early-1")

    async def scenario() -> list[int]:
        found: list[int] = []
        told = asyncio.Event()

        def on_event(event: Event) -> None:
            if isinstance(event, ClockWrong):
                found.append(event.ahead_ms)
                told.set()

        clock = lambda: time.time_ns() // 1_000_000 + 3_600_000  # noqa: E731
        async with AsyncDevice(device, on_event=on_event, now_ms=clock):
            await asyncio.wait_for(told.wait(), 20)
        return found

    (ahead_ms,) = _run(scenario())
    assert 3_590_000 < ahead_ms <= 3_600_000


def test_the_examples_run_as_devices(pipeline: Target) -> None:
    for example, seconds in (("load_average.py", "2"), ("pump.py", "2")):
        device = _device(pipeline, example.partition(".")[0].replace("_", "-"))
        run = subprocess.run(
            [sys.executable, str(ROOT / "examples" / example), str(device.folder), seconds],
            capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
        )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, "")
        assert eventually(lambda: _arrived(pipeline, device.device_id) >= {0, 1})  # noqa: B023
