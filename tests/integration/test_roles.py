"""Every role, of the pipeline and of the lake, may do what its code does, and nothing that it never
does, with a KMS key of the customer's (a stack without one grants less; every other test runs on
such a stack).

What is granted is read from the deployed stack, what is done is recorded by the embedded AWS while
every role is at its work (:mod:`tests.integration.roles_at_work`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from botocore.exceptions import ClientError

from infra.aws.stacks.cloudformation import deploy, ensure_ttl
from infra.aws.stacks.template import TEMPLATE
from infra.emulator.iam.decisions import Decision
from infra.emulator.process import Emulator
from infra.target import Target
from tests.integration import lake_at_work as lake_work
from tests.integration import roles_at_work as work
from tests.integration.conftest import ROLES, target_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("roles")]

_REGISTRATION: Final = (
    "RegisterThing's own steps, which the embedded AWS does not authorize one by one: AWS managed "
    "policy AWSIoTThingsRegistration"
)
_LAMBDA_LOGS: Final = "by Lambda itself: Lambda developer guide, CloudWatch Logs for Lambda"
_ATHENA: Final = (
    "Athena's own calls with the rights of who asks: Athena user guide, Control access to Amazon "
    "S3 from Athena; Configure access to databases and tables in the AWS Glue Data Catalog"
)
_OLD_METADATA: Final = (
    "PyIceberg, write.metadata.previous-versions-max: after a hundred commits to a table"
)
_FORGOTTEN: Final = (
    "PyIceberg, expire_snapshots: the commit of `penstock lake clean --forget`, when there are "
    "snapshots to forget"
)
_ENDED: Final = "KCL 3.1.3, LeaseCleanupManager: the lease of a shard whose records have expired"
_LEADER: Final = (
    "KCL 3.1.3, DynamoDBLockBasedLeaderDecider: the heartbeat of a leader, after some 30 s"
)

UNEXERCISED: Final[dict[tuple[str, str], str]] = {
    **{
        ("provisioning", f"iot:{action}"): _REGISTRATION
        for action in (
            "AttachPrincipalPolicy", "DescribeCertificate", "DescribeThing",
            "DescribeThingType", "DetachPolicy", "DetachThingPrincipal", "GetPolicy",
            "ListAttachedPolicies", "ListPolicyPrincipals", "ListPrincipalPolicies",
            "ListPrincipalThings", "ListTargetsForPolicy", "ListThingGroupsForThing",
            "ListThingPrincipals", "RegisterThing",
        )
    },
    **{
        ("reader", action): _ATHENA
        for action in (
            "glue:GetDatabase", "glue:GetPartitions", "glue:GetTables", "kms:GenerateDataKey",
            "s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads",
            "s3:ListMultipartUploadParts", "s3:PutObject",
        )
    },
    ("lake", "s3:DeleteObject"): _OLD_METADATA,
    ("lake-clean", "glue:UpdateTable"): _FORGOTTEN,
    ("worker", "dynamodb:DeleteItem"): _ENDED,
    ("provisioning-hook", "logs:CreateLogStream"): _LAMBDA_LOGS,
    ("provisioning-hook", "logs:PutLogEvents"): _LAMBDA_LOGS,
}  # fmt: skip
"""Rights that cannot be seen at work here, with the role and who says that they are needed."""

_OLDER: Final = "replay, of a device whose latest state in the roster is older than the archive's"
_UNARCHIVED: Final = "rebuild --drop-unarchived, of a window that holds what the archive lacks"

SOMETIMES: Final = {
    ("worker", "dynamodb:UpdateItem"): _LEADER,
    ("replay", "dynamodb:PartiQLUpdate"): _OLDER,
    **{
        ("replay", action): _UNARCHIVED
        for action in (
            "dynamodb:Scan", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards",
        )
    },
}  # fmt: skip
"""Rights that are seen in some runs: how long a run takes decides it."""


class Grant(NamedTuple):
    """A right of a role, on a pattern of ARNs."""

    role: str
    action: str
    resource: str


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def granted(iam: Any, role: str) -> Iterator[Grant]:
    """What a deployed role may do."""
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for statement in document["Statement"]:
            for action in _listed(statement["Action"]):
                for resource in _listed(statement["Resource"]):
                    yield Grant(role, action, resource)


class Seen(NamedTuple):
    """A stack, what its roles may do and what they did."""

    target: Target
    grants: list[Grant]
    decisions: list[Decision]

    def short(self, role: str) -> str:
        """A role's name without stack and Region, as in the template."""
        settings = self.target.settings
        return role.removeprefix(f"{settings.stack}-").removesuffix(f"-{settings.region}")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("roles")
    emulator = Emulator.start(folder / "emulator", record_decisions=True)
    try:
        target = target_of(
            emulator, "plant", devices_dir=folder / "devices", acknowledge=True,
            segment_age_s=2.0, shutdown_grace_s=2, cloudwatch_metrics="SUMMARY", redrive_s=0.0,
        )  # fmt: skip
        key = target.client("kms").create_key()["KeyMetadata"]["Arn"]
        outputs = deploy(
            target.client("cloudformation"),
            "plant",
            {
                "ShardCount": "2", "DeletionProtection": "false", "WithSimulator": "true",
                "Acknowledge": "true", "KmsKeyArn": key,
            },
            on_event=lambda _: None,
            interval=0.05,
        )  # fmt: skip
        target.roles |= {role: outputs[f"{role.capitalize()}RoleArn"] for role in ROLES}
        lake = deploy(
            target.client("cloudformation"),
            "plant-lake",
            {"Pipeline": "plant", "KmsKeyArn": key},
            on_event=lambda _: None,
            interval=0.05,
            template=TEMPLATE.parent / "lake.yaml",
        )
        target.roles |= {role: lake[f"{role.capitalize()}RoleArn"] for role in ("lake", "replay")}
        target.roles["lake-clean"] = lake["LakeCleanRoleArn"]
        ensure_ttl(target.client("dynamodb"), target.settings.windows_table)
        _work(target, folder)
        yield Seen(target, _grants(target), emulator.decisions())
    finally:
        emulator.stop()


def _work(target: Target, folder: Path) -> None:
    work.prepare(target)
    with work.working(target, folder / "polling", "polling"):
        names = work.simulate(target, folder, "mqtt")
        work.view(target, names[0])
        work.operate(target, folder)
        work.fail_a_rule(target)
        work.redrive_errors(target)
    with work.working(target, folder / "fanout", "fanout", redrive_s=1.0):
        work.simulate(target, folder, "kinesis")
        work.fail_a_rule(target)
        work.await_redrive(target)
    work.read(target)
    lake_work.keep_tables(target, folder)
    lake_work.query(target, folder)
    lake_work.repair(target, folder)
    work.remove(target, "simulator", names)


def _grants(target: Target) -> list[Grant]:
    iam = target.client("iam")
    mine = [role["RoleName"] for role in iam.list_roles()["Roles"]]
    return [
        grant
        for role in mine
        if role.startswith(f"{target.settings.stack}-")
        for grant in granted(iam, role)
    ]


def test_no_role_is_denied_what_its_code_calls(seen: Seen) -> None:
    assert {d for d in seen.decisions if not d.allowed and d.role != _rule(seen)} == set()


def _rule(seen: Seen) -> str:
    """The role that is denied its put for a moment, so that there is an error to redrive."""
    return seen.target.settings.role_name("rule")


def test_every_right_is_used_or_is_said_why_it_cannot_be_seen_here(seen: Seen) -> None:
    unused = {
        (seen.short(grant.role), grant.action, grant.resource)
        for grant in seen.grants
        if not any(_covers(grant, decision) for decision in seen.decisions)
    }
    unexplained = {one for one in unused if one[:2] not in {**UNEXERCISED, **SOMETIMES}}
    listing = "\n".join(sorted(map(str, unexplained)))
    assert not unexplained, listing
    assert set(UNEXERCISED) <= {(role, action) for role, action, _ in unused}, "explained in vain"


def _covers(grant: Grant, decision: Decision) -> bool:
    return (
        decision.allowed
        and grant.role == decision.role
        and grant.action == decision.action
        and (grant.resource == "*" or fnmatchcase(decision.resource, grant.resource))
    )


def test_every_role_of_the_template_was_at_work(seen: Seen) -> None:
    worked = {seen.short(decision.role) for decision in seen.decisions}
    assert worked == {seen.short(grant.role) for grant in seen.grants}
    assert worked >= {*ROLES, "rule", "provisioning", "provisioning-hook"}


def test_without_its_grant_on_the_key_a_role_reads_nothing_that_the_key_encrypts(
    seen: Seen,
) -> None:
    target, settings = seen.target, seen.target.settings
    reader = target.client("dynamodb", "reader")
    assert "Items" in reader.scan(TableName=settings.devices_table)
    iam, role = target.client("iam"), settings.role_name("reader")
    grant = iam.get_role_policy(RoleName=role, PolicyName="key")["PolicyDocument"]
    iam.delete_role_policy(RoleName=role, PolicyName="key")
    try:
        with pytest.raises(ClientError, match="AccessDenied"):
            reader.scan(TableName=settings.devices_table)
    finally:
        iam.put_role_policy(RoleName=role, PolicyName="key", PolicyDocument=json.dumps(grant))
    assert "Items" in reader.scan(TableName=settings.devices_table)
    (statement, *_) = grant["Statement"]
    services = statement["Condition"]["StringEquals"]["kms:ViaService"]
    assert f"dynamodb.{settings.region}.amazonaws.com" in services
