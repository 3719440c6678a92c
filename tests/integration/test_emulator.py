"""The facts about the embedded AWS that the code depends on, each held by a test."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from botocore.exceptions import ClientError
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from devices.provisioning.registry import Clients, create_device
from infra.emulator import process as module
from infra.emulator.iam.authorization import _partiql_check
from infra.emulator.process import Emulator, EmulatorError
from infra.target import Target
from ingest.record import Envelope, decode_record
from ingest.topic import basic_ingest_topic, telemetry_topic
from tests.integration.conftest import STACK, eventually, records, target_of

pytestmark = STACK

PAYLOADS = [
    b'{"v":1,"boot":"9f2c61d0","seq":0,"readings":[]}',
    b'{"device_id":"somebody-else","received_at":0}',
    bytes(range(256)),
    b"\xc3(",
    b"not json",
    b'"a string"',
]


def _of(target: Target, device: str) -> list[dict[str, Any]]:
    found = records(target, target.settings.stream)
    return [record for record in found if record["PartitionKey"] == device]


@pytest.mark.parametrize("number", range(len(PAYLOADS)))
def test_the_rule_puts_any_payload_into_the_stream_to_the_byte(
    pipeline: Target, number: int
) -> None:
    device, before = f"rule-{number}", int(time.time() * 1000)
    pipeline.client("iot-data").publish(
        topic=basic_ingest_topic(pipeline.settings.stack, device), qos=1, payload=PAYLOADS[number]
    )
    found = eventually(lambda: _of(pipeline, device))
    assert len(found) == 1
    envelope = decode_record(found[0]["Data"])
    assert isinstance(envelope, Envelope)
    assert (envelope.payload, envelope.device_id) == (PAYLOADS[number], device)
    assert before - 1000 <= envelope.received_at <= int(time.time() * 1000) + 1000


def test_a_message_that_kinesis_refuses_goes_to_the_error_action(pipeline: Target) -> None:
    iot, sqs = pipeline.client("iot"), pipeline.client("sqs")
    queue = sqs.get_queue_url(QueueName=pipeline.settings.error_queue)["QueueUrl"]
    role = f"arn:aws:iam::{pipeline.account}:role/{pipeline.settings.role_name('rule')}"
    missing = {"roleArn": role, "streamName": "nowhere", "partitionKey": "${topic(3)}"}
    iot.create_topic_rule(
        ruleName="lost",
        topicRulePayload={
            "sql": "SELECT encode(*, 'base64') AS payload FROM 'dt/penstock/+/telemetry'",
            "actions": [{"kinesis": missing}],
            "errorAction": {"sqs": {"roleArn": role, "queueUrl": queue, "useBase64": False}},
        },
    )
    pipeline.client("iot-data").publish(
        topic=f"$aws/rules/lost/{telemetry_topic('penstock', 'pump-1')}", qos=1, payload=b"kept"
    )
    found = eventually(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"))
    iot.delete_topic_rule(ruleName="lost")
    assert found, "nothing reached the error queue"
    failure = json.loads(found[0]["Body"])
    assert failure["base64OriginalPayload"] == "a2VwdA=="
    assert failure["failures"][0]["failedAction"] == "KinesisAction"
    assert failure["failures"][0]["failedResource"] == "nowhere"


def test_a_device_writes_as_itself_over_mtls_and_as_nobody_else(pipeline: Target) -> None:
    clients = Clients(pipeline.client("iot"), pipeline.client("dynamodb"))
    create_device(clients, pipeline.settings, "own-1")
    folder, codes = pipeline.settings.devices_dir / "own-1", {}
    client = paho.Client(CallbackAPIVersion.VERSION2, "own-1", protocol=MQTTProtocolVersion.MQTTv5)
    pair = str(folder / "certificate.pem"), str(folder / "private.key")
    client.tls_set(str(pipeline.settings.iot_ca), *pair)
    client.on_publish = lambda _c, _u, mid, reason, _p: codes.update({mid: reason.value})
    client.connect("127.0.0.1", pipeline.settings.iot_port)
    client.loop_start()
    assert eventually(client.is_connected)
    sent = [
        client.publish(basic_ingest_topic(pipeline.settings.stack, name), b"x", qos=1).mid
        for name in ("own-1", "own-2")
    ]
    assert eventually(lambda: len(codes) == 2)
    client.disconnect()
    client.loop_stop()
    assert [codes[mid] for mid in sent] == [0, 0x87]
    assert len(eventually(lambda: _of(pipeline, "own-1"))) == 1
    assert not _of(pipeline, "own-2")


def test_everything_listens_on_loopback_only(emulator: Emulator, pipeline: Target) -> None:
    listening = _listening(emulator.pid)
    ports = {int(address.rpartition(":")[2], 16) for address in listening}
    assert {emulator.mqtt_port, int(emulator.endpoint_url.rpartition(":")[2])} <= ports
    assert {address.rpartition(":")[0] for address in listening} == {"0100007F"}


def _listening(pid: int) -> list[str]:
    """The local addresses, as the kernel writes them, on which a process listens."""
    held = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in held]


def test_an_archive_object_is_created_once(pipeline: Target) -> None:
    s3, bucket = pipeline.client("s3"), pipeline.settings.bucket(pipeline.account)
    s3.put_object(Bucket=bucket, Key="telemetry/once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=bucket, Key="telemetry/once", Body=b"2", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412


def test_partiql_decides_each_statement_on_its_own(pipeline: Target) -> None:
    dynamodb, table = pipeline.client("dynamodb"), pipeline.settings.windows_table
    insert = f"INSERT INTO \"{table}\" VALUE {{'device':'p','window':'1m#a','ver':1}}"
    update = f"UPDATE \"{table}\" SET ver=3 WHERE device='p' AND \"window\"='1m#a' AND ver=2"
    other = insert.replace("1m#a", "1m#b")

    def run(*statements: str) -> list[str | None]:
        answer = dynamodb.batch_execute_statement(Statements=[{"Statement": s} for s in statements])
        return [r.get("Error", {}).get("Code") for r in answer["Responses"]]

    assert run(insert) == [None]
    assert run(insert, other) == ["DuplicateItem", None]
    assert run(update) == ["ConditionalCheckFailed"]


@pytest.mark.parametrize(
    ("statement", "action"),
    [
        ("INSERT INTO \"t\" VALUE {'from': 1}", "dynamodb:PartiQLInsert"),
        ('UPDATE "t" SET note = \'copied from  "u"\' WHERE device = ?', "dynamodb:PartiQLUpdate"),
        ("delete from t where device = ?", "dynamodb:PartiQLDelete"),
        ('SELECT device, "window" FROM "t"', "dynamodb:PartiQLSelect"),
    ],
)
def test_a_statement_needs_the_right_of_its_verb_on_its_table(statement: str, action: str) -> None:
    assert _partiql_check(statement, "r", "1") == (action, "arn:aws:dynamodb:r:1:table/t")


def test_a_statement_that_cannot_be_read_needs_every_right() -> None:
    assert _partiql_check("EXISTS(...)", "r", "1") == ("dynamodb:*", "*")


def test_a_batch_of_sqs_needs_the_right_of_one_message_on_its_own_queue(pipeline: Target) -> None:
    root, limited = pipeline.client("sqs"), pipeline.client("sqs", "redrive")
    url = root.get_queue_url(QueueName=pipeline.settings.error_queue)["QueueUrl"]
    root.send_message(QueueUrl=url, MessageBody="1")
    found = eventually(lambda: limited.receive_message(QueueUrl=url).get("Messages"))
    entry = {"Id": "1", "ReceiptHandle": found[0]["ReceiptHandle"]}
    limited.change_message_visibility_batch(
        QueueUrl=url, Entries=[{**entry, "VisibilityTimeout": 60}]
    )
    assert limited.delete_message_batch(QueueUrl=url, Entries=[entry])["Successful"]
    with pytest.raises(ClientError, match="AccessDenied"):
        limited.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "2"}])
    other = root.create_queue(QueueName="others")["QueueUrl"]
    with pytest.raises(ClientError, match="AccessDenied"):
        limited.receive_message(QueueUrl=other)


def test_state_survives_a_restart(tmp_path: Path) -> None:
    first = Emulator.start(tmp_path, persist=True)
    try:
        certificate = _fill(target_of(first))
        authority = first.ca_path.read_bytes()
    finally:
        first.stop()
    second = Emulator.start(tmp_path, persist=True)
    try:
        assert second.ca_path.read_bytes() == authority
        _check(target_of(second), certificate)
    finally:
        second.stop()


def _fill(target: Target) -> str:
    """One of everything that a local stack keeps; returns the certificate's id."""
    target.client("dynamodb").create_table(
        TableName="table",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    target.client("dynamodb").put_item(
        TableName="table", Item={"k": {"S": "a"}, "b": {"B": b"\xff"}}
    )
    target.client("s3").create_bucket(Bucket="bucket")
    target.client("s3").put_object(
        Bucket="bucket", Key="k", Body=b"\xff\x00", Metadata={"last": "7"}
    )
    kinesis = target.client("kinesis")
    kinesis.create_stream(StreamName="s", ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName="s", WaiterConfig={"Delay": 1})
    kinesis.put_record(StreamName="s", Data=b"\xff\xfe", PartitionKey="p")
    target.client("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")
    made = target.client("iot").create_keys_and_certificate(setAsActive=True)
    return str(made["certificateId"])


def _check(target: Target, certificate: str) -> None:
    item = target.client("dynamodb").get_item(TableName="table", Key={"k": {"S": "a"}})["Item"]
    assert item["b"] == {"B": b"\xff"}
    found = target.client("s3").get_object(Bucket="bucket", Key="k")
    assert (found["Body"].read(), found["Metadata"]) == (b"\xff\x00", {"last": "7"})
    assert [record["Data"] for record in records(target, "s")] == [b"\xff\xfe"]
    assert target.client("iam").get_role(RoleName="role")
    described = target.client("iot").describe_certificate(certificateId=certificate)
    assert described["certificateDescription"]["status"] == "ACTIVE"


@pytest.mark.parametrize("port", ["gateway_port", "mqtt_port"])
def test_a_busy_port_is_said_in_a_sentence(tmp_path: Path, port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        number = busy.getsockname()[1]
        with pytest.raises(EmulatorError, match=re.escape(f"port {number} is busy: stop")):
            Emulator.start(tmp_path, **{port: number})


@pytest.mark.parametrize("lost", [0, 1])
def test_a_free_port_that_was_taken_meanwhile_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    choose = module._free_port
    with socket.create_server(("127.0.0.1", 0)) as busy:
        ports = [choose(), choose()]
        ports[lost] = busy.getsockname()[1]
        monkeypatch.setattr(module, "_free_port", lambda: ports.pop(0) if ports else choose())
        running = Emulator.start(tmp_path)
        running.stop()
        assert not running.endpoint_url.endswith(f":{busy.getsockname()[1]}")
        assert running.mqtt_port != busy.getsockname()[1]


def test_a_process_that_dies_is_said_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.environment
    monkeypatch.setattr(
        module, "environment", lambda *a, **kw: {**original(*a, **kw), "BIND_HOST": "0.0.0.0"}
    )
    with pytest.raises(EmulatorError, match=r"its log ends with: .*start it with infra\.emulator"):
        Emulator.start(tmp_path)


def test_a_missing_package_is_said_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmulatorError, match=r"penstock\[local\]"):
        Emulator.start(tmp_path)


def test_no_setting_of_the_users_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the user's own")
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("PERSIST_STATE", "1")
    environment = module.environment(tmp_path, 1, 2, persist=False)
    assert "the user's own" not in environment.values()
    assert "AWS_PROFILE" not in environment
    assert environment["PERSIST_STATE"] == "0"
    assert environment["DOCKER_HOST"].startswith(f"unix://{tmp_path}")


def test_a_shard_that_was_split_is_read_to_its_end_and_then_names_its_children(
    emulator: Emulator,
) -> None:
    kinesis = target_of(emulator).client("kinesis")
    kinesis.create_stream(StreamName="split", ShardCount=1)
    kinesis.put_record(StreamName="split", PartitionKey="a", Data=b"before")
    parent = kinesis.list_shards(StreamName="split")["Shards"][0]["ShardId"]
    kinesis.split_shard(StreamName="split", ShardToSplit=parent, NewStartingHashKey=str(2**127))
    kinesis.put_record(StreamName="split", PartitionKey="a", Data=b"after")
    shards = {s["ShardId"]: s for s in kinesis.list_shards(StreamName="split")["Shards"]}
    assert len(shards) == 3
    assert "EndingSequenceNumber" in shards[parent]["SequenceNumberRange"]
    iterator = kinesis.get_shard_iterator(
        StreamName="split", ShardId=parent, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    answer = kinesis.get_records(ShardIterator=iterator)
    assert [record["Data"] for record in answer["Records"]] == [b"before"]
    assert "NextShardIterator" not in answer
    assert {child["ShardId"] for child in answer["ChildShards"]} == shards.keys() - {parent}
    assert len(records(target_of(emulator), "split")) == 2
    kinesis.delete_stream(StreamName="split")


def test_temporary_credentials_outlive_a_restart(tmp_path: Path) -> None:
    running = Emulator.start(tmp_path, persist=True)
    target = target_of(running)
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
    target.client("iam").create_role(
        RoleName="kept",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )
    target.roles["kept"] = f"arn:aws:iam::{target.account}:role/kept"
    client = target.client("sts", "kept")
    before = client.get_caller_identity()["Arn"]
    port, mqtt_port = int(running.endpoint_url.rsplit(":", 1)[1]), running.mqtt_port
    running.stop()
    again = Emulator.start(tmp_path, gateway_port=port, mqtt_port=mqtt_port, persist=True)
    try:
        assert client.get_caller_identity()["Arn"] == before
    finally:
        again.stop()
