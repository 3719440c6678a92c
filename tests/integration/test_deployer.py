"""With the policies of ``penstock deploy --policy`` and no others, a stack with a service, a lake,
operations and devices is deployed, updated and destroyed with its data; the embedded AWS
records what they are used for. What CloudFormation calls, it does not ask IAM for there: that is
compared in ``tests/unit/test_deployer_policy.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from devices.provisioning.keys import new_key, request_for
from infra.aws.removal.holdings import holdings
from infra.emulator.process import Emulator
from infra.emulator.profile import Profile
from infra.target import Target
from tests.harness import command
from tests.harness.deployer import OWN_CALLS
from tests.integration.conftest import target_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("deployer")]

STACK: Final = "plant-7"
UNSEEN: Final = {
    "cloudformation:ContinueUpdateRollback": "after an update whose rollback failed",
    "cloudformation:DescribeEvents": "after a creation that CloudFormation refuses by a look",
    "ecs:DescribeTasks": "while a run of the lake is at work",
    "ecs:StopTask": "while a run of the lake is at work",
}
"""Calls of deployments that fail, which this one does not, and in which tasks run."""


class Account(NamedTuple):
    """An embedded AWS of a test's own, and its root."""

    emulator: Emulator
    root: Target


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    emulator = Emulator.start(
        tmp_path / "emulator", record_decisions=True, profile=Profile(deprecation_s=1.0)
    )
    monkeypatch.setattr("tests.harness.command.extra", _environment(emulator))
    yield Account(emulator, target_of(emulator, STACK))
    emulator.stop()


def _environment(emulator: Emulator) -> dict[str, str]:
    return {
        "PENSTOCK_ENDPOINT_URL": emulator.endpoint_url,
        "PENSTOCK_STACK": STACK,
        "PENSTOCK_IOT_HOST": "127.0.0.1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def become_deployer(target: Target, documents: dict[str, Any]) -> None:
    """Commands work as a new role with these policies from now on."""
    iam = target.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{target.account}:root"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    role = iam.create_role(RoleName="deployer", AssumeRolePolicyDocument=json.dumps(trust))
    for name, document in documents.items():
        made = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document))
        iam.attach_role_policy(RoleName="deployer", PolicyArn=made["Policy"]["Arn"])
    target.roles["deployer"] = role["Role"]["Arn"]
    keys = target.assume_with_expiry("deployer")
    command.extra = {
        **command.extra,
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }


def populate(target: Target, folder: Path, mine: dict[str, str]) -> None:
    """What others make: a device, a claim, a certificate that serves something else too, a
    consumer, an object of two versions."""
    deployer, command.extra = command.extra, mine
    assert command.run(folder, "device", "create", "pump-1", "--aws").code == 0
    assert command.run(folder, "device", "claim", "create", "claim", "--aws").code == 0
    command.extra = deployer
    iot, settings = target.client("iot"), target.settings
    iot.create_policy(policyName="of-another", policyDocument='{"Statement": []}')
    shared = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    for policy in (settings.device_policy, "of-another"):
        iot.attach_policy(policyName=policy, target=shared)
    for stack in (STACK, "plant-77"):  # as a creation leaves them that stops before its next step
        request = request_for(new_key(), "pump-2", stack)
        iot.create_certificate_from_csr(certificateSigningRequest=request)
    kinesis, s3 = target.client("kinesis"), target.client("s3")
    stream = kinesis.describe_stream_summary(StreamName=settings.stream)
    arn = stream["StreamDescriptionSummary"]["StreamARN"]
    kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")
    for body in (b"1", b"2"):
        s3.put_object(Bucket=settings.bucket(target.account), Key="telemetry/x", Body=body)


def test_a_deployer_with_its_policies_alone_deploys_updates_and_destroys(
    account: Account, tmp_path: Path
) -> None:
    target = account.root

    def penstock(*arguments: str) -> command.Result:
        done = command.run(tmp_path, *arguments, seconds=200)
        assert done.code == 0, done.err
        return done

    parts = ("--service", "registry/penstock:1", "--lake", "--operations", "--api")
    mine = dict(command.extra)
    documents = penstock("deploy", "--policy", *parts).json
    become_deployer(target, documents)

    # The embedded AWS has no scaling: see docs/aws.md.
    penstock("deploy", "--shards", "1", "--plan")
    penstock("deploy", "--shards", "1", *parts, "--parameter", "Scaling=false")
    populate(target, tmp_path, mine)
    penstock("deploy", "--retention-hours", "48")
    penstock("destroy", "--yes", "--delete-data")

    left = {one for one in holdings(target) if one[1].startswith(STACK)}
    assert left == {("iam policy", name) for name in documents}
    certificates = target.client("iot").list_certificates()["certificates"]
    assert sorted(one["status"] for one in certificates) == ["ACTIVE", "INACTIVE"], (
        "the certificate that has another policy, and the unused one of another stack"
    )
    decisions = account.emulator.decisions()
    assert {one for one in decisions if not one.allowed} == set()
    called = {one.action for one in decisions if one.role == "deployer"}
    assert called - OWN_CALLS == {"sts:GetCallerIdentity"}, "called, and not in the list"
    assert OWN_CALLS - called == set(UNSEEN), "in the list, and not called"


def test_without_one_of_its_rights_the_deployer_is_told_which(
    account: Account, tmp_path: Path
) -> None:
    documents = command.run(tmp_path, "deploy", "--policy").json
    for document in documents.values():
        for statement in document["Statement"]:
            statement["Action"] = [
                one for one in statement["Action"] if one != "cloudformation:CreateChangeSet"
            ]
    become_deployer(account.root, documents)
    refused = command.run(tmp_path, "deploy", "--shards", "1")
    assert refused.code == 1
    assert "AWS refuses to deploy plant-7" in refused.err
    assert "CreateChangeSet" in refused.err
