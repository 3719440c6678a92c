"""A deployment's whole life on the embedded AWS, by the commands that a user types: up with devices
and claims, loaded, its worker killed, updated, away with the data kept, up again over that data,
loaded again, and away for good. Source of each refusal: :mod:`infra.emulator`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices import identity
from devices.mqtt.connection import Connection
from infra.aws.removal.holdings import Holding, holdings
from infra.target import Target
from ingest.topic import telemetry_topic
from tests.harness import command
from tests.harness.stream import read_stream
from tests.integration.account import STACK, Account
from tests.integration.conftest import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("lifecycle")]

LOAD = ("simulate", "--devices", "4", "--rate", "2", "--seconds", "10", "--aws", "--json")


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    opened = Account(tmp_path)
    yield opened
    opened.close()


def _kill(worker: subprocess.Popen[str]) -> None:
    """As a host that fails: the supervisor at once, and its daemon and children with it."""
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _statuses(target: Target) -> list[str]:
    found = target.client("iot").list_certificates()["certificates"]
    return sorted(one["status"] for one in found)


def _exact(done: command.Result) -> Any:
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["verdict"] == "exact", report
    assert report["sent"]["readings"] > 0, report
    return report


def test_a_deployment_lives_and_ends_with_nothing_left_and_no_step_that_lies(
    account: Account,
) -> None:
    target = account.target()
    empty = holdings(target)
    made = account.penstock("deploy", "--shards", "2", "--simulator")
    assert made.code == 0, made.err

    # devices and claims
    assert account.penstock("device", "create", "pump-1", "--aws").code == 0
    assert account.penstock("device", "claim", "create", "claim", "--aws").code == 0
    assert account.penstock("device", "announce", "pump-2", "--aws").code == 0
    assert account.penstock("device", "provision", "pump-2", "--claim", "claim").code == 0
    assert account.penstock("device", "rotate", "pump-1", "--aws").code == 0
    assert _statuses(target) == ["ACTIVE", "ACTIVE", "ACTIVE", "REVOKED"]

    # a load, whose worker is killed in the middle of it
    first = account.work()
    assert eventually(lambda: account.holds_leases(2), within_s=90)
    load = account.start(*LOAD, "--no-verify", "--ledger", "first.sqlite")
    assert eventually(lambda: _segments(target), within_s=60)
    _kill(first)
    second = account.work()
    _, err = load.communicate(timeout=200)
    assert load.returncode == 0, err
    assert eventually(lambda: _is_exact(account, "first.sqlite"), within_s=240)
    assert _things(target) == ["pump-1", "pump-2"]  # what it made on AWS is removed

    _send(account, "pump-1", 3)
    assert eventually(lambda: _counted(account, "pump-1") == 3, within_s=90)

    # an update while the worker runs
    assert account.penstock("deploy", "--retention-hours", "48").code == 0

    # away, in an order that loses nothing
    sqs, queue = target.client("sqs"), target.settings.error_queue
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="a message whose rule failed")
    refused = account.penstock("destroy", "--yes")
    assert (refused.code, "1 messages in the queue" in refused.err) == (1, True), refused.err
    assert _statuses(target).count("ACTIVE") == 3
    sqs.purge_queue(QueueUrl=url)

    ending = account.start("destroy", "--yes")
    told = _read_until(ending, "stop the worker now")
    assert "every record is archived" in told
    assert set(_statuses(target)) <= {"INACTIVE", "REVOKED"}
    second.send_signal(signal.SIGTERM)
    _, rest = ending.communicate(timeout=200)
    assert ending.returncode == 0, rest
    assert second.wait(60) == 0
    kept = holdings(target) - empty
    assert {kind for kind, _ in kept} == {"dynamodb table", "s3 bucket", "log group"}, kept
    assert len(kept) == 4

    # up again over what was kept
    planned = account.penstock("deploy", "--plan", "--json")
    imported = {one["resource"] for one in planned.json if one["action"] == "Import"}
    assert imported == {"ArchiveBucket", "DevicesTable", "ProvisioningHookLogs", "WindowsTable"}
    again = account.penstock("deploy", "--shards", "2", "--simulator")
    assert again.code == 0, again.err
    assert account.penstock("device", "create", "pump-1", "--aws").code == 0
    third = account.work()
    assert eventually(lambda: account.holds_leases(2), within_s=90)
    _exact(account.penstock(*LOAD))
    _send(account, "pump-1", 4)
    assert eventually(lambda: _counted(account, "pump-1") == 7, within_s=90)

    # away for good
    third.send_signal(signal.SIGTERM)
    assert third.wait(60) == 0
    gone = account.penstock("destroy", "--yes", "--delete-data")
    assert gone.code == 0, gone.err
    assert holdings(target) == empty
    nothing = account.penstock("destroy", "--yes", "--delete-data")
    assert (nothing.code, f"there is no stack {STACK}" in nothing.err) == (0, True)


def _send(account: Account, device: str, readings: int) -> None:
    lines = "".join(f'{{"level": {number}}}\n' for number in range(readings))
    sent = account.penstock("device", "run", device, "--json", stdin=lines)
    assert (sent.code, sent.json["waiting"]) == (0, 0), sent.err


def _counted(account: Account, device: str) -> int:
    """Readings in the hot table's windows of an hour."""
    found = account.penstock("windows", device, "--tier", "1h", "--aws", "--json")
    return sum(one["n"] for one in found.json)


def _is_exact(account: Account, ledger: str) -> bool:
    """Whether it is so by now: a host that is lost holds the KCL leader's lock for two minutes."""
    found = account.penstock("verify", ledger, "--aws", "--json")
    return found.code == 0 and _exact(found) is not None


def _segments(target: Target) -> int:
    bucket = target.settings.bucket(target.account)
    return int(target.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"])


def _things(target: Target) -> list[str]:
    return sorted(one["thingName"] for one in target.client("iot").list_things()["things"])


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    """What a command says on stderr, to the line that has the text."""
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if text in line:
            return told
    raise AssertionError(told)


def test_a_destruction_that_breaks_off_anywhere_goes_on_with_the_next(account: Account) -> None:
    """Broken off by a right that is missing: after each kind of call, the next run finishes."""
    target = account.target()
    empty = holdings(target)
    assert account.penstock("deploy", "--shards", "1").code == 0
    assert account.penstock("device", "create", "pump-1", "--aws").code == 0
    assert account.penstock("device", "claim", "create", "claim", "--aws").code == 0
    for operation in (
        "DeprecateThingType", "DetachThingPrincipal", "DeleteCertificate", "DeleteThing",
        "DeleteThingType", "DeleteStack",
        "DeleteTable",
    ):  # fmt: skip
        failed = _broken_at(account, operation)
        assert failed.code == 1, (operation, failed.err)
        assert "goes on where it was" in failed.err, (operation, failed.err)
        if operation == "DeleteStack":
            half = account.penstock("deploy")
            assert (half.code, "is half destroyed" in half.err) == (1, True), half.err
    done = account.penstock("destroy", "--yes", "--delete-data")
    assert done.code == 0, done.err
    assert holdings(target) == empty


def _broken_at(account: Account, operation: str) -> command.Result:
    """A destruction by a user who is denied one operation."""
    iam, name = account.target().client("iam"), f"no-{operation.lower()}"
    iam.create_user(UserName=name)
    prefix = {"DeleteStack": "cloudformation", "DeleteTable": "dynamodb"}.get(operation, "iot")
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": f"{prefix}:{operation}", "Resource": "*"},
        ],
    }
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    command.extra = {
        **account.environment(),
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    try:
        return command.run(account.folder, "destroy", "--yes", "--delete-data", seconds=120)
    finally:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName=name, PolicyName="p")
        iam.delete_user(UserName=name)


def test_two_stacks_in_an_account_do_not_hear_each_other_and_one_goes_without_the_other(
    account: Account,
) -> None:
    """Two stacks whose names begin alike, and one name in two Regions."""
    places = [("plant", "us-east-1"), ("plant-worker", "us-east-1"), ("plant", "eu-west-1")]
    targets = [account.target(*place) for place in places]
    empty = [holdings(target) for target in targets]
    own: list[set[Holding]] = []
    for number, (stack, region) in enumerate(places):
        before = holdings(targets[number])
        where = {"stack": stack, "region": region}
        made = account.penstock("deploy", "--shards", "1", **where)
        assert made.code == 0, made.err
        assert account.penstock("device", "create", f"pump-{number}", "--aws", **where).code == 0
        own.append(holdings(targets[number]) - before)
    foreign = account.penstock("device", "delete", "pump-0", "--yes", "--aws", stack="plant-worker")
    assert (foreign.code, "not a device of the stack plant-worker" in foreign.err) == (1, True)

    for number, target in enumerate(targets):
        _publish(account, target.settings.stack, f"pump-{number}")
    for number, target in enumerate(targets):
        assert eventually(lambda: _heard(target)), target.settings.stack  # noqa: B023
        assert _heard(target) == {f"pump-{number}"}

    for number, (stack, region) in enumerate(places):
        gone = account.penstock("destroy", "--yes", "--delete-data", "--discard",
                                stack=stack, region=region)  # fmt: skip
        assert gone.code == 0, gone.err
        assert not own[number] & holdings(targets[number])
        for later in range(number + 1, len(places)):
            assert own[later] <= holdings(targets[later]), (stack, region)
    assert [holdings(target) for target in targets] == empty


def _publish(account: Account, stack: str, device: str) -> None:
    """To the plain topic, which every rule of the account could hear."""
    found = identity.load(account.folder / ".penstock" / "devices", device)

    async def publish() -> int | None:
        connection = Connection(found)
        await connection.open(20)
        try:
            return await connection.publish(telemetry_topic(stack, device), b"{}")
        finally:
            await connection.stop()

    assert asyncio.run(publish()) == 0


def _heard(target: Target) -> set[str]:
    """The devices whose messages are in a stack's stream."""
    found = read_stream(target.client("kinesis"), target.settings.stream).values()
    return {json.loads(one["Data"])["device_id"] for records in found for one in records}
