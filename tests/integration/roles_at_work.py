"""Every role of the template at its work, in an embedded AWS that records what IAM decides."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from consumers.kcl.first_leases import prepare_leases
from dashboard.http.api import create_app
from devices.identity import Identity
from devices.mqtt.connection import Connection
from devices.provisioning.claim import provision
from devices.provisioning.claims import create_claim, list_claims, revoke_claim
from devices.provisioning.deletion import delete_device
from devices.provisioning.mqtt import MqttRegistrar, load_claim
from devices.provisioning.registry import (
    Clients,
    announce,
    create_device,
    data_endpoint,
    list_things,
)
from devices.provisioning.rotation import revoke, rotate
from infra.acts import recorded
from infra.aws.redrive import redrive
from infra.local.dashboard import feed_of
from infra.schemas import apply_schemas
from infra.simulation.drive import drive, into_stream, over_mqtt
from infra.simulation.provision_fleet import fleet_names, provision_fleet
from infra.simulation.verify import verify_ledger, verify_settled
from infra.target import Target
from infra.worker.assembly import supervised, worker_of
from ingest.commands.command import new_id
from ingest.commands.store import send_command
from ingest.topic import SHADOW, telemetry_topic
from simulator.scenario import steady_fleet
from tests.harness.schemas import schema
from tests.harness.waiting import until

WORK_S = 90.0


def clients(target: Target, role: str) -> Clients:
    """As a command gets them."""
    return Clients(target.client("iot", role), target.client("dynamodb", role))


def prepare(target: Target) -> None:
    """What ``penstock consume`` does before it starts its worker."""
    kinesis, settings = target.client("kinesis", "worker"), target.settings
    kinesis.describe_stream_summary(StreamName=settings.stream)
    prepare_leases(
        target.client("dynamodb", "worker"), kinesis, stream=settings.stream,
        application=settings.application, position="TRIM_HORIZON",
    )  # fmt: skip


@contextmanager
def working(target: Target, folder: Path, retrieval: str, **changes: Any) -> Iterator[None]:
    """A worker that reads by ``polling`` or by ``fanout``, with more settings changed."""
    folder.mkdir()
    settings = target.settings.model_copy(update={"retrieval": retrieval, **changes})
    with (
        (folder / "worker.log").open("ab") as log,
        worker_of(target, directory=folder, output=log, settings=settings, report_s=1.0) as worker,
        supervised(worker),
    ):
        until(
            lambda: sum(one["pid"] is not None for one in worker.status.snapshot()["shards"]) == 2,
            WORK_S,
            "a child on every shard",
        )
        yield


def simulate(target: Target, folder: Path, via: str) -> list[str]:
    """A small fleet sends, and what became of it is verified; the names of its devices."""
    data_endpoint(target.client("iot", "simulator"))  # where no setting names the broker
    stack = target.settings.stack
    kinds = fleet_names(stack, 2)
    names = [name for name, _ in kinds]
    transport = (
        over_mqtt(provision_fleet(target, kinds, group="roles"))
        if via == "mqtt"
        else into_stream(target)
    )
    ledger = folder / f"ledger-{via}.sqlite"
    load = steady_fleet(2, rate=2.0, seconds=8.0, kind="pump")
    drive(target, load, names, transport, seed=1, ledger_path=ledger)
    if via == "mqtt":
        shadows = target.client("iot-data", "simulator")
        send_command(shadows, names[0], new_id(), "turn", {}, expires_s=5, by="simulator")
    deadline = time.monotonic() + WORK_S
    while not (report := verify_settled(target, ledger, exclusive=False)).exact:
        assert time.monotonic() < deadline, report.as_dict()
    verify_ledger(target, ledger, exclusive=True)  # reads everything, as the demo does
    return names


def remove(target: Target, role: str, names: list[str]) -> None:
    """As ``penstock device delete`` does, with a role."""
    iot, dynamodb = clients(target, role)
    shadows = target.client("iot-data", role)
    for name in names:
        delete_device(iot, shadows, dynamodb, target.settings, name)


def view(target: Target, device: str) -> None:
    """Look at every page of the dashboard."""
    app = create_app(feed_of(target), target.settings.tiers)
    with TestClient(app, base_url="http://localhost") as browser:
        one = f"devices/{device}"
        for path in (
            "summary",
            "devices",
            one,
            f"{one}/windows",
            f"{one}/missing",
            f"{one}/commands",
        ):
            answer = browser.get(f"/api/v1/{path}")
            assert answer.status_code == 200, (path, answer.text)

        def live() -> bool:
            browser.get("/api/v1/devices")
            marked = target.client("dynamodb").get_item(
                TableName=target.settings.status_table, Key={"worker": {"S": "#watched"}}
            )
            return "Item" in marked

        until(live, 20, "the mark of a viewer")


def operate(target: Target, folder: Path) -> None:
    """A person makes, lists, configures, rotates, revokes and deletes devices, by hand and by
    claim."""
    mine, settings = clients(target, "operator"), target.settings
    assert apply_schemas(target, [schema(1, 0, 1, outside="warn")]).added == ["pump"]
    data_endpoint(mine.iot)
    device = create_device(mine, settings, "press-1")
    assert "press-1" in {thing["device"] for thing in list_things(mine.iot, settings)}
    shadows = target.client("iot-data", "operator")
    wanted = json.dumps({"state": {"desired": {"batch": 2}}}).encode()
    shadows.update_thing_shadow(thingName="press-1", shadowName=SHADOW, payload=wanted)
    shadows.get_thing_shadow(thingName="press-1", shadowName=SHADOW)
    with recorded(target, "configure device press-1", {}):
        pass
    rotate(mine.iot, settings, device, _connects)
    claim = create_claim(mine, settings, folder / "claim", days=1, now_s=time.time())
    assert claim in list_claims(mine.dynamodb, settings)
    announce(mine, settings, "press-2", group="hall", kind="press")
    deployment = load_claim(folder / "claim")
    with MqttRegistrar(folder / "claim", deployment, "press-2") as aws:
        provision(aws, deployment, settings.devices_dir, "press-2")
    revoke(mine.iot, settings, "press-2")
    announce(mine, settings, "press-2", group="hall", kind="press")  # the thing is there already
    with MqttRegistrar(folder / "claim", deployment, "press-2") as aws:
        provision(aws, deployment, folder / "again", "press-2")
    revoke_claim(mine, settings, claim.claim_id, now_s=time.time())
    remove(target, "operator", ["press-1", "press-2"])


def _connects(device: Identity) -> None:
    async def connect() -> None:
        connection = Connection(device)
        await connection.open(20)
        await connection.stop()

    asyncio.run(connect())


def fail_a_rule(target: Target) -> None:
    """A put that fails leaves its message in the error queue, and one there is no telemetry."""
    iam, stack = target.client("iam"), target.settings.stack
    role = target.settings.role_name("rule")
    whole = iam.get_role_policy(RoleName=role, PolicyName="put")["PolicyDocument"]
    publisher = target.client("iot-data")
    kinesis = target.client("kinesis")
    arn = kinesis.describe_stream_summary(StreamName=target.settings.stream)[
        "StreamDescriptionSummary"
    ]["StreamARN"]
    denial = {"Effect": "Deny", "Action": "kinesis:PutRecord", "Resource": arn}
    document = {**whole, "Statement": [*whole["Statement"], denial]}
    iam.put_role_policy(RoleName=role, PolicyName="put", PolicyDocument=json.dumps(document))
    sqs = target.client("sqs")
    url = sqs.get_queue_url(QueueName=target.settings.error_queue)["QueueUrl"]

    def waiting() -> bool:
        publisher.publish(topic=telemetry_topic(stack, "press-1"), qos=1, payload=b"late")
        found = sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(found["Attributes"]["ApproximateNumberOfMessages"]) > 0

    try:
        until(waiting, 30, "a rule's error")
    finally:
        iam.put_role_policy(RoleName=role, PolicyName="put", PolicyDocument=json.dumps(whole))
    sqs.send_message(QueueUrl=url, MessageBody="no telemetry")


def redrive_errors(target: Target) -> None:
    """As ``penstock rejects redrive-rule-errors`` does."""
    sqs = target.client("sqs", "redrive")
    url = sqs.get_queue_url(QueueName=target.settings.error_queue)["QueueUrl"]
    kinesis = target.client("kinesis", "redrive")
    counts = redrive(sqs, url, kinesis, target.settings.stream)
    assert counts.redriven
    assert len(counts.left) == 1
    target.client("sqs").purge_queue(QueueUrl=url)


def await_redrive(target: Target) -> None:
    """A worker takes every error of the rule from the queue, and leaves what is no telemetry."""
    sqs = target.client("sqs")
    url = sqs.get_queue_url(QueueName=target.settings.error_queue)["QueueUrl"]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def left() -> int:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    until(lambda: left() == 1, 30, "a queue of rule errors with nothing of the rule")


def read(target: Target) -> None:
    """As the programs of docs/own-programs.md do."""
    settings, bucket = target.settings, target.settings.bucket(target.account)
    dynamodb, s3 = target.client("dynamodb", "reader"), target.client("s3", "reader")
    for table in (settings.windows_table, settings.devices_table, settings.status_table):
        dynamodb.describe_table(TableName=table)
        items: list[Any] = dynamodb.scan(TableName=table)["Items"]
        keys = dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]
        key = {one["AttributeName"]: items[0][one["AttributeName"]] for one in keys}
        dynamodb.get_item(TableName=table, Key=key)
        dynamodb.batch_get_item(RequestItems={table: {"Keys": [key]}})
        (hash_key, *_) = key
        dynamodb.query(
            TableName=table,
            KeyConditionExpression="#k = :k",
            ExpressionAttributeNames={"#k": hash_key},
            ExpressionAttributeValues={":k": key[hash_key]},
        )
    (found, *_) = s3.list_objects_v2(Bucket=bucket, Prefix="telemetry/")["Contents"]
    s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
    target.client("s3").put_object(Bucket=bucket, Key="lake/readings/file.parquet", Body=b"x")
    s3.get_object(Bucket=bucket, Key="lake/readings/file.parquet")["Body"].read()
