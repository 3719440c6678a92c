"""The embedded AWS refuses what IoT Core refuses, and counts what it meters.

Sources: AWS General Reference, "AWS IoT Core endpoints and quotas"; IoT API reference; see
``infra/emulator/limits/mqtt.py`` and ``infra/emulator/iot/registry.py``.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from devices.identity import Identity
from devices.provisioning.registry import Clients, create_device
from infra.emulator.iot.rule_roles import CACHE_S
from infra.emulator.process import Emulator
from infra.emulator.profile import STRICT, Profile
from infra.emulator.usage import read_usage
from infra.target import Target
from ingest.topic import basic_ingest_topic, telemetry_topic
from tests.integration.conftest import STACK, eventually, records

pytestmark = STACK


@pytest.fixture(scope="module")
def iot(pipeline: Target) -> Any:
    return pipeline.client("iot")


@pytest.fixture(scope="module")
def identity(pipeline: Target) -> Identity:
    clients = Clients(pipeline.client("iot"), pipeline.client("dynamodb"))
    return create_device(clients, pipeline.settings, "strict-device", group="strict")


def refused(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return str(error.value.response["Error"]["Code"])


class RawClient:
    """An MQTT 3.1.1 client that keeps to no limit, unlike AWS's SDK."""

    def __init__(self, target: Target, identity: Identity) -> None:
        settings = target.settings
        assert settings.iot_ca is not None
        context = ssl.create_default_context(cafile=str(settings.iot_ca))
        context.check_hostname = False
        context.load_cert_chain(identity.certificate_path, identity.key_path)
        self._where = (settings.iot_host, settings.iot_port)
        self._context = context
        self._name = identity.device_id

    async def __aenter__(self) -> RawClient:
        self._reader, self._writer = await asyncio.open_connection(*self._where, ssl=self._context)
        body = _text("MQTT") + b"\x04\x02\x00\x3c" + _text(self._name)
        self._writer.write(_packet(0x10, body))
        assert (await self._packet())[0] == 0x20
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def publish(self, topic: str, payload: bytes, number: int) -> None:
        self._writer.write(_packet(0x32, _text(topic) + struct.pack("!H", number) + payload))

    async def acknowledged(self, wait_s: float) -> set[int]:
        """Packet ids of the PUBACKs that arrive until none comes for ``wait_s``."""
        found: set[int] = set()
        while True:
            try:
                kind, body = await asyncio.wait_for(self._packet(), wait_s)
            except (TimeoutError, asyncio.IncompleteReadError):
                return found
            if kind == 0x40:
                found.add(struct.unpack("!H", body[:2])[0])

    async def ends(self) -> bool:
        """Whether the broker closes the connection."""
        try:
            return await asyncio.wait_for(self._reader.read(1), 5) == b""
        except ConnectionError:
            return True

    async def _packet(self) -> tuple[int, bytes]:
        kind = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return kind, await self._reader.readexactly(length)


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    length, encoded = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        encoded += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([kind]) + encoded + body


def topic_of(target: Target, identity: Identity) -> str:
    return basic_ingest_topic(target.settings.stack, identity.device_id)


def test_publishes_beyond_100_a_second_are_not_acknowledged_and_not_in_the_stream(
    pipeline: Target, identity: Identity
) -> None:
    marker = b"beyond-100"

    async def run() -> set[int]:
        async with RawClient(pipeline, identity) as client:
            for number in range(1, 161):
                client.publish(topic_of(pipeline, identity), marker, number)
            return await client.acknowledged(1.0)

    acknowledged = asyncio.run(run())
    assert 100 <= len(acknowledged) < 160
    assert set(range(1, 101)) <= acknowledged
    found = [r for r in records(pipeline, pipeline.settings.stream) if _payload(r) == marker]
    assert len(found) == len(acknowledged)


def test_a_payload_above_128_kib_ends_the_connection(pipeline: Target, identity: Identity) -> None:
    async def run() -> tuple[set[int], bool]:
        async with RawClient(pipeline, identity) as client:
            client.publish(topic_of(pipeline, identity), b"x" * 128 * 1024, 1)
            taken = await client.acknowledged(1.0)
            client.publish(topic_of(pipeline, identity), b"x" * (128 * 1024 + 1), 2)
            return taken, await client.ends()

    assert asyncio.run(run()) == ({1}, True)


def test_messages_rules_and_actions_are_metered(
    emulator: Emulator, pipeline: Target, identity: Identity
) -> None:
    """IoT Core pricing: steps of 5 KB; Basic Ingest has no message charge."""
    before = read_usage(emulator.endpoint_url)

    async def run() -> None:
        async with RawClient(pipeline, identity) as client:
            client.publish(topic_of(pipeline, identity), b"x" * 100, 1)
            client.publish(topic_of(pipeline, identity), b"x" * 6000, 2)
            assert await client.acknowledged(0.5) == {1, 2}

    asyncio.run(run())
    counts = read_usage(emulator.endpoint_url).since(before).as_document()["iot"]
    assert {
        name: counts[name] for name in ("connects", "publishes", "rule_steps", "action_steps")
    } == {"connects": 1, "publishes": 2, "rule_steps": 3, "action_steps": 3}


def test_attribute_values_have_no_spaces_and_no_umlauts(iot: Any) -> None:
    """API reference, AttributePayload."""
    for value in ("two words", "Köln"):
        payload = {"attributes": {"place": value}}
        assert refused(iot.create_thing, thingName="odd", attributePayload=payload) == (
            "InvalidRequestException"
        )
    iot.create_thing(thingName="even", attributePayload={"attributes": {"place": "hall-2"}})
    payload = {"attributes": {"place": "two words"}}
    assert refused(iot.update_thing, thingName="even", attributePayload=payload) == (
        "InvalidRequestException"
    )
    assert iot.describe_thing(thingName="even")["attributes"] == {"place": "hall-2"}
    iot.delete_thing(thingName="even")


def test_a_policy_is_not_deleted_while_a_certificate_has_it(iot: Any, identity: Identity) -> None:
    """API reference, DeletePolicy."""
    policy = iot.list_attached_policies(target=_arn_of(iot, identity))["policies"][0]
    assert refused(iot.delete_policy, policyName=policy["policyName"]) == "DeleteConflictException"


def test_a_certificate_is_not_deleted_while_it_is_active_or_in_use(
    iot: Any, identity: Identity
) -> None:
    """API reference, DeleteCertificate."""
    certificate = _arn_of(iot, identity).rpartition("/")[2]
    assert refused(iot.delete_certificate, certificateId=certificate) == (
        "CertificateStateException"
    )
    iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
    assert refused(iot.delete_certificate, certificateId=certificate, forceDelete=True) == (
        "DeleteConflictException"
    )
    iot.update_certificate(certificateId=certificate, newStatus="ACTIVE")


def test_states_that_the_service_sets_are_refused(iot: Any, identity: Identity) -> None:
    """API reference, UpdateCertificate."""
    certificate = _arn_of(iot, identity).rpartition("/")[2]
    for state in ("PENDING_TRANSFER", "PENDING_ACTIVATION"):
        assert refused(iot.update_certificate, certificateId=certificate, newStatus=state) == (
            "InvalidRequestException"
        )


@pytest.fixture
def hasty(emulator: Emulator) -> Iterator[None]:
    """Thing types can be deleted a second after their deprecation."""
    emulator.become(Profile(name="hasty", deprecation_s=1.0))
    yield
    emulator.become(STRICT)


def test_a_thing_type_is_deleted_five_minutes_after_its_deprecation(
    iot: Any, emulator: Emulator, hasty: None
) -> None:
    """API reference, DeleteThingType; the clock is shortened."""
    iot.create_thing_type(thingTypeName="pump")
    assert refused(iot.delete_thing_type, thingTypeName="pump") == "InvalidRequestException"
    iot.deprecate_thing_type(thingTypeName="pump")
    assert refused(iot.delete_thing_type, thingTypeName="pump") == "InvalidRequestException"

    def deleted() -> bool:
        try:
            iot.delete_thing_type(thingTypeName="pump")
        except ClientError:
            return False
        return True

    assert eventually(deleted, within_s=5)


def test_a_thing_type_in_use_is_not_deleted(iot: Any) -> None:
    """API reference, DeleteThingType."""
    iot.create_thing_type(thingTypeName="valve")
    iot.create_thing(thingName="valve-1", thingTypeName="valve")
    iot.deprecate_thing_type(thingTypeName="valve")
    assert refused(iot.delete_thing_type, thingTypeName="valve") == "InvalidRequestException"
    iot.delete_thing(thingName="valve-1")


def test_rule_actions_take_their_time_and_none_is_lost_at_a_stop(tmp_path: Path) -> None:
    """The rules engine acknowledges a message before its action is done; AWS loses none."""
    from tests.integration.conftest import target_of

    running = Emulator.start(tmp_path, persist=True)
    target = target_of(running, devices_dir=tmp_path / "devices")
    identity = _with_rule(target)
    running.become(Profile(name="slow-rules", latency=40.0))

    async def run() -> set[int]:
        async with RawClient(target, identity) as client:
            for number in range(1, 21):
                client.publish(topic_of(target, identity), b"late", number)
            return await client.acknowledged(0.5)

    assert len(asyncio.run(run())) == 20
    ports = (int(running.endpoint_url.rpartition(":")[2]), running.mqtt_port)
    running.stop()
    again = Emulator.start(tmp_path, gateway_port=ports[0], mqtt_port=ports[1], persist=True)
    try:
        assert len(records(target, target.settings.stream)) == 20
    finally:
        again.stop()


def _with_rule(target: Target) -> Identity:
    from infra.aws.stacks.cloudformation import deploy

    deploy(
        target.client("cloudformation"), target.settings.stack,
        {"ShardCount": "1", "DeletionProtection": "false", "WithSimulator": "false"},
        on_event=lambda _: None, interval=0.05,
    )  # fmt: skip
    clients = Clients(target.client("iot"), target.client("dynamodb"))
    return create_device(clients, target.settings, "late-device", group="late")


def _arn_of(iot: Any, identity: Identity) -> str:
    return str(iot.list_thing_principals(thingName=identity.device_id)["principals"][0])


def _payload(record: dict[str, Any]) -> bytes:
    import base64

    return base64.b64decode(json.loads(record["Data"])["payload"])


def test_an_action_whose_role_lacks_the_right_fails_and_goes_to_the_error_queue(
    pipeline: Target,
) -> None:
    iam, sqs, stack = pipeline.client("iam"), pipeline.client("sqs"), pipeline.settings.stack
    role = pipeline.settings.role_name("rule")
    whole = iam.get_role_policy(RoleName=role, PolicyName="put")["PolicyDocument"]
    queue_only = {**whole, "Statement": [s for s in whole["Statement"] if "sqs" in str(s)]}
    url = sqs.get_queue_url(QueueName=pipeline.settings.error_queue)["QueueUrl"]
    publisher = pipeline.client("iot-data")

    def failed() -> Any:
        publisher.publish(topic=telemetry_topic(stack, "unlucky"), qos=1, payload=b"{}")
        taken = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in taken:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [one["Body"] for one in taken if "kinesis:PutRecord" in one["Body"]]

    iam.put_role_policy(RoleName=role, PolicyName="put", PolicyDocument=json.dumps(queue_only))
    try:
        (error, *_) = eventually(failed, within_s=3 * CACHE_S)
    finally:
        iam.put_role_policy(RoleName=role, PolicyName="put", PolicyDocument=json.dumps(whole))
    assert eventually(lambda: not failed(), within_s=3 * CACHE_S)
    assert json.loads(error)["failures"][0]["failedAction"] == "KinesisAction"


def test_a_shadow_that_would_be_too_large_is_refused_and_stays(pipeline: Target) -> None:
    shadows = pipeline.client("iot-data")
    where = {"thingName": "large", "shadowName": "penstock"}

    def update(half: str, size: int) -> None:
        document = {"state": {half: {"text": "x" * size}}}
        shadows.update_thing_shadow(**where, payload=json.dumps(document).encode())

    update("desired", 5000)
    with pytest.raises(ClientError, match="exceeds the maximum size"):
        update("reported", 5000)
    update("reported", 2000)
    shadows.delete_thing_shadow(**where)
