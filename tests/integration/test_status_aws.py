"""``penstock status --stack NAME``: a deployment on AWS, from any folder. The test puts what AWS
itself would measure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.archive.segment_key import object_key
from consumers.kcl.position import position
from infra.emulator.process import Emulator
from infra.target import Target
from ingest.tables import status as worker_report
from tests.harness import command
from tests.harness.command import run
from tests.integration.conftest import STACK, commands_on, target_of

pytestmark = STACK
NAME = "plant-9"


@pytest.fixture
def target(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    with commands_on(emulator, NAME, monkeypatch):
        made = run(tmp_path, "deploy", "--shards", "2", "--operations")
        assert made.code == 0, made.err
        command.extra["PENSTOCK_STACK"] = "another"  # the option decides
        yield target_of(emulator, NAME)
        command.extra["PENSTOCK_STACK"] = NAME
        assert run(tmp_path, "destroy", "--yes", "--delete-data", "--discard").code == 0


def _report(target: Target, worker: str, age_ms: int, **report: Any) -> None:
    item = worker_report.write(worker, report, time.time_ns() // 1_000_000 - age_ms)
    target.client("dynamodb").put_item(TableName=target.settings.status_table, Item=item)


def _shard(name: str, lag_ms: int | None) -> dict[str, Any]:
    return {"shard": name, "lag_ms": lag_ms, "committed_at": None}


def _metric(target: Target, namespace: str, name: str, dimension: str, of: str, value: float,
            at: datetime) -> None:  # fmt: skip
    target.client("cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": dimension, "Value": of}],
                "Timestamp": at,
                "Value": value,
            }
        ],
    )


def _happen(target: Target) -> str:
    """Workers, errors, an alarm, an archive and a yesterday; the key of the last object."""
    settings, now = target.settings, datetime.now(UTC)
    _report(target, "w-1", 1_000, shards=[_shard("s-0", 1_500), _shard("s-1", 40)], restarts=1)
    _report(target, "w-2", 2_000, shards=[], not_ready="leases wait")
    _report(target, "w-3", 60_000, shards=[_shard("s-9", 99_000)])
    sqs, queue = target.client("sqs"), settings.error_queue
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    for _ in range(3):
        sqs.send_message(QueueUrl=url, MessageBody="failed")
    _metric(target, "AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue, 77.0, now)
    target.client("cloudwatch").set_alarm_state(
        AlarmName=f"{NAME}-own-lag", StateValue="ALARM", StateReason="lag is 90 s"
    )
    s3, bucket = target.client("s3"), settings.bucket(target.account)
    hours = int(now.timestamp() // 3600)
    for hour in (hours - 30, hours):
        key = object_key("shardId-000000000000", position("17", 0), hour)
        s3.put_object(Bucket=bucket, Key=key, Body=b"segment")
    noon = (now - timedelta(days=1)).replace(hour=12)
    for table, units in ((settings.windows_table, 2_000_000), (settings.devices_table, 500_000)):
        for at, value in ((noon, units), (now, 9e9), (noon - timedelta(days=2), 9e9)):
            _metric(target, "AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", table,
                    float(value), at)  # fmt: skip
    return key


def test_a_deployment_is_shown_section_by_section(target: Target, tmp_path: Path) -> None:
    last = _happen(target)
    shown = run(tmp_path, "status", "--stack", NAME, "--json")
    assert shown.code == 0, shown.err
    found = shown.json
    assert {one["stack"]: one["status"] for one in found["stacks"]["stacks"]} == {
        NAME: "UPDATE_COMPLETE",
        f"{NAME}-operations": "CREATE_COMPLETE",
    }
    workers = found["workers"]
    assert [one["worker"] for one in workers["workers"]] == ["w-1", "w-2"]
    assert (workers["silent"], workers["lag_ms"]) == (1, 1_500)
    assert [one["shard"] for one in workers["shards"]] == ["s-0", "s-1"]
    firing = found["alarms"]["firing"]
    assert [(one["alarm"], one["reason"]) for one in firing] == [(f"{NAME}-own-lag", "lag is 90 s")]
    assert found["rule_errors"] == {"messages": 3, "oldest_s": 77.0}
    assert found["archive"]["last"]["key"] == last
    assert found["archive"]["last"]["age_s"] < 60
    cost = found["cost"]
    assert cost["write_units"] == 2_500_000
    assert cost["usd"] == 1.5625  # 0.625 USD a million
    assert cost["tables"][f"{NAME}-windows"]["usd"] == 1.25

    text = run(tmp_path, "status", "--stack", NAME).out
    assert "2 report, 1 silent; 2 shards, greatest lag 1.5 s" in text
    assert "w-2 is not ready: leases wait" in text
    assert "3 messages, the oldest 77 s old" in text
    assert "1.56 USD for 2,500,000 write units" in text


def test_a_section_that_cannot_be_asked_says_why_and_the_others_are_shown(
    target: Target, tmp_path: Path
) -> None:
    target.client("dynamodb").delete_table(TableName=target.settings.status_table)
    target.roles["reader"] = (
        f"arn:aws:iam::{target.account}:role/{target.settings.role_name('reader')}"
    )
    keys = target.assume_with_expiry("reader")
    rights = dict(command.extra)
    command.extra.update(
        AWS_ACCESS_KEY_ID=keys["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=keys["SecretAccessKey"],
        AWS_SESSION_TOKEN=keys["SessionToken"],
    )
    try:
        found = run(tmp_path, "status", "--stack", NAME, "--json").json
    finally:
        command.extra.clear()
        command.extra.update(rights)
    assert found["stacks"]["problem"].startswith("you may not call DescribeStacks")
    assert found["archive"] == {"last": None}  # the reader may list it
    mine = run(tmp_path, "status", "--stack", NAME, "--json").json
    assert "penstock deploy" in mine["workers"]["problem"]
    assert mine["stacks"]["stacks"][0]["stack"] == NAME


def test_a_stack_that_is_not_there_is_told_in_each_section(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with commands_on(emulator, "nowhere", monkeypatch):
        shown = run(tmp_path, "status", "--aws", "--json")
        wrong = run(tmp_path, "status", "--aws", "--worker", "http://127.0.0.1:1")
    assert shown.code == 0, shown.err
    assert "problem" in shown.json["stacks"]
    assert wrong.code == 2


def test_a_doctor_looks_at_an_account_and_says_what_could_not_be_checked(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with commands_on(emulator, NAME, monkeypatch):
        looked = run(tmp_path, "doctor", "--aws", "--service", "--shards", "2", "--json")
    found = {one["name"]: one for one in looked.json}
    assert found["clock"]["ok"]
    assert found["services in us-east-1"]["ok"]
    assert found["stack name"]["ok"]
    assert found["Lambda concurrency"]["ok"]
    assert found["DynamoDB write units a table"]["found"].startswith("40000 left")
    # The embedded AWS does not tell these: see docs/aws.md.
    assert found["Kinesis shards"]["ok"] is None
    assert found["Fargate vCPUs"]["ok"] is None
    assert found["identity"]["ok"] is False  # root
    assert looked.code == 1
