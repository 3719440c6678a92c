"""The telemetry client against a real MQTT 5 broker with mTLS and enforced policies."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from devices.batch import Outgoing
from devices.errors import ConnectError, PublishRefusedError
from devices.identity import Identity
from devices.mqtt.client import TelemetryClient
from devices.provisioning.registry import Clients, create_device
from infra.target import Target
from ingest.message import MAX_PAYLOAD_BYTES, Message, decode
from ingest.record import Envelope, decode_record
from ingest.topic import basic_ingest_topic
from tests.harness.messages import outgoing
from tests.integration.conftest import STACK, Broker, eventually, records

pytestmark = STACK


def _device(target: Target, name: str) -> Identity:
    return create_device(
        Clients(target.client("iot"), target.client("dynamodb")), target.settings, name
    )


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end; no task may be left when it is reached."""

    async def main() -> Any:
        result = await asyncio.wait_for(coroutine, 90)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left
        return result

    return asyncio.run(main())


def _arrived(target: Target, device: str) -> set[int]:
    """Sequence numbers of the device's readings in the stream."""
    found: set[int] = set()
    for record in records(target, target.settings.stream):
        envelope = decode_record(record["Data"])
        assert isinstance(envelope, Envelope)
        if envelope.device_id == device:
            message = decode(envelope.payload)
            assert isinstance(message, Message)
            found |= set(range(message.seq, message.seq + len(message.readings)))
    return found


class Heard:
    """An observer that keeps what it hears, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def sending(self, device_id: str, message: Outgoing) -> None:
        self.calls.append(("sending", message.seq))

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        self.calls.append(("acknowledged", message.seq))

    def seqs(self, call: str) -> list[int]:
        return [seq for name, seq in self.calls if name == call]


def test_what_is_acknowledged_has_arrived(pipeline: Target) -> None:
    device, heard = _device(pipeline, "client-arrives"), Heard()

    async def scenario() -> int:
        client = TelemetryClient(device, observer=heard)
        await client.connect()
        for seq, readings in ((0, 3), (3, 3), (6, 3), (9, 1)):
            await client.send(outgoing(seq, readings))
        return await client.close()

    assert _run(scenario()) == 0
    assert sorted(heard.seqs("acknowledged")) == heard.seqs("sending") == [0, 3, 6, 9]
    for seq in (0, 3, 6, 9):
        assert heard.calls.index(("sending", seq)) < heard.calls.index(("acknowledged", seq))
    assert eventually(lambda: _arrived(pipeline, "client-arrives") == set(range(10)))


def test_another_devices_topic_is_refused_and_its_own_is_not(pipeline: Target) -> None:
    device = _device(pipeline, "client-thief")
    topic = basic_ingest_topic(pipeline.settings.stack, "client-victim")

    async def scenario() -> tuple[PublishRefusedError, int]:
        client = TelemetryClient(device)
        await client.connect()
        with pytest.raises(PublishRefusedError) as caught:
            await (await client.send(outgoing(0), topic=topic))
        await client.send(outgoing(0))
        return caught.value, await client.close()

    error, unacknowledged = _run(scenario())
    assert error.reason_code == 0x87
    assert "client-thief's message to" in str(error)
    assert unacknowledged == 1
    assert eventually(lambda: _arrived(pipeline, "client-thief") == {0})
    assert _arrived(pipeline, "client-victim") == set()


def test_a_device_whose_own_topic_is_refused_fails_loudly_and_still_closes(
    pipeline: Target,
) -> None:
    device = _device(pipeline, "client-banned")
    banned = replace(device, config=replace(device.config, stack="another"))

    async def scenario() -> int:
        client = TelemetryClient(banned)
        await client.connect()
        with pytest.raises(PublishRefusedError, match="only to its own topic"):
            await _send_for_ever(client)
        return await client.close()

    assert _run(scenario()) > 0


async def _send_for_ever(client: TelemetryClient) -> None:
    for seq in count():
        await client.send(outgoing(seq))
        await asyncio.sleep(0.005)


def test_a_certificate_does_not_connect_under_another_name(pipeline: Target) -> None:
    device = _device(pipeline, "client-one")
    _device(pipeline, "client-two")
    forged = replace(device, config=replace(device.config, device_id="client-two"))
    with pytest.raises(ConnectError, match=r"does not let client-two in .reason code 0x87."):
        _run(_connect(forged))


def test_a_broker_with_another_ca_is_not_trusted(pipeline: Target, tmp_path: Path) -> None:
    device = _device(pipeline, "client-ca")
    other = x509.load_pem_x509_certificate(device.certificate_path.read_bytes())
    (tmp_path / "other.pem").write_bytes(other.public_bytes(Encoding.PEM))
    wrong = replace(device, config=replace(device.config, ca_path=str(tmp_path / "other.pem")))
    with pytest.raises(ConnectError, match=r"no TLS with 127\.0\.0\.1:\d+ .*certificate"):
        _run(_connect(wrong))


def test_a_port_where_nobody_listens_is_named(pipeline: Target) -> None:
    device = _device(pipeline, "client-port")
    wrong = replace(device, config=replace(device.config, port=1))
    with pytest.raises(ConnectError, match=r"no broker answers at 127\.0\.0\.1:1 within 1 s"):
        _run(_connect(wrong, 1.0))


@pytest.mark.parametrize("lost", ["certificate_path", "key_path"])
def test_a_lost_file_is_a_sentence(pipeline: Target, lost: str) -> None:
    device = _device(pipeline, f"client-lost-{lost}")
    getattr(device, lost).unlink()
    with pytest.raises(ConnectError, match="cannot be used"):
        _run(_connect(device))


async def _connect(identity: Identity, timeout_s: float = 20.0) -> None:
    await TelemetryClient(identity).connect(timeout_s)


def test_a_message_greater_than_the_broker_takes_is_refused_here(pipeline: Target) -> None:
    device = _device(pipeline, "client-great")

    async def scenario() -> int:
        client = TelemetryClient(device)
        await client.connect()
        with pytest.raises(ValueError, match="the limit is 131072"):
            await client.send(Outgoing("boot0000", 0, 0, bytes(MAX_PAYLOAD_BYTES + 1)))
        return await client.close()

    assert _run(scenario()) == 0


def test_a_broker_that_restarts_mid_stream_loses_nothing(broker: Broker) -> None:
    device, heard, total = _device(broker.target, "client-restart"), Heard(), 120

    async def scenario() -> tuple[int, int]:
        client = TelemetryClient(device, window=20, observer=heard)
        await client.connect()
        restart: asyncio.Task[None] | None = None
        for i in range(total):
            await client.send(outgoing(i))
            if i == 30:
                restart = asyncio.create_task(_restart(broker))
            await asyncio.sleep(0.01)
        assert restart is not None
        await restart
        return await client.close(), client.connections

    unacknowledged, connections = _run(scenario())
    assert unacknowledged == 0
    assert connections >= 2
    assert sorted(heard.seqs("acknowledged")) == list(range(total))
    assert eventually(lambda: _arrived(broker.target, "client-restart") == set(range(total)))


async def _restart(broker: Broker) -> None:
    await asyncio.to_thread(broker.stop)
    broker.start()  # not in a thread: the emulator ends with the thread that started it


def test_a_full_window_holds_the_device_back_until_there_is_room(broker: Broker) -> None:
    device = _device(broker.target, "client-window")

    async def scenario() -> int:
        client = TelemetryClient(device, window=5)
        await client.connect()
        with broker.paused():
            for seq in range(5):
                await client.send(outgoing(seq))
            blocked = asyncio.create_task(client.send(outgoing(5)))
            done, _ = await asyncio.wait([blocked], timeout=0.3)
            assert not done
            assert client.in_flight == 5
        await blocked
        return await client.close()

    assert _run(scenario()) == 0
    assert eventually(lambda: _arrived(broker.target, "client-window") == set(range(6)))


def test_closing_says_how_many_messages_a_silent_broker_did_not_take(broker: Broker) -> None:
    device = _device(broker.target, "client-silent")

    async def scenario() -> int:
        client = TelemetryClient(device, window=3, close_s=0.3)
        await client.connect()
        with broker.paused():
            for seq in range(3):  # they fill the window
                await client.send(outgoing(seq))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.send(outgoing(3)), 0.1)
            return await client.close()

    assert _run(scenario()) == 4
