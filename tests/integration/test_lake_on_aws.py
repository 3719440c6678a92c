"""The lake's part of a deployment, by the commands that a user types, with IAM enforced: made with
a service, its tasks' commands run as their role, asked by two readers, and away again.

Athena is the embedded AWS's: it runs DuckDB, so this compares what the external table says that
there is, not the dialect; it reads no Iceberg table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.aws.removal.holdings import holdings
from infra.target import Target
from tests.harness import athena, command
from tests.harness.known_archive import HOURS, build, sent
from tests.integration.account import STACK, Account
from tests.integration.lake_at_work import acting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("lake-aws")]

DATABASE = "plant_7_lake"
SAME_ANSWERS = {
    "rows by device": "SELECT device_id, count(*) AS n FROM {records} GROUP BY 1 ORDER BY 1",
    "rows by disposition": "SELECT disposition, count(*) AS n FROM {records} GROUP BY 1 ORDER BY 1",
    "one day and two hours": (
        "SELECT count(*) AS n, count(DISTINCT device_id) AS devices FROM {records} WHERE {hours}"
    ),
    "a mean": "SELECT round(avg(metrics['temperature']), 6) AS mean FROM {records}",
    "readings, each once": (
        "SELECT count(*) AS n FROM (SELECT DISTINCT device_id, boot, seq FROM {records} "
        "WHERE disposition = 'ok') AS accepted"
    ),
}


NOTHING_OLD = {"snapshots": 0, "objects": 0, "bytes": 0}


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    opened = Account(tmp_path)
    yield opened
    opened.close()


def _succeeds(account: Account, *arguments: str) -> command.Result:
    result = account.penstock(*arguments)
    assert result.code == 0, (arguments, result.err)
    return result


def _runs(target: Target, folder: Path, family: str) -> Any:
    """What the scheduler's task does: its container's command, environment and role, here."""
    ecs = target.client("ecs")
    task = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
    (container,) = task["containerDefinitions"]
    target.roles["lake"] = task["taskRoleArn"]
    environment = {one["name"]: one["value"] for one in container["environment"]}
    with acting(target, "lake", environment):
        done = command.run(folder, *container["command"][1:])
    assert done.code == 0, done.err
    return done.json


def test_the_lake_is_made_kept_asked_and_taken_away_with_nothing_left(account: Account) -> None:
    target, folder = account.target(), account.folder
    empty = holdings(target)
    # The embedded AWS has no scaling: see docs/aws.md.
    made = _succeeds(
        account, "deploy", "--shards", "1", "--retention-hours", "8760", "--lake", "--service",
        "registry/penstock:1", "--parameter", "Scaling=false", "--json",
    ).json  # fmt: skip
    assert made["LakeDatabase"] == DATABASE
    _upload(target)

    # the tasks, in the service's network
    _is_scheduled_in_the_services_network(target)
    assert _runs(target, folder, f"{STACK}-lake-sync") == {"segments": HOURS, "commits": 1}
    assert _runs(target, folder, f"{STACK}-lake-compact")["readings"] == len(sent())
    assert _runs(target, folder, f"{STACK}-lake-clean") == NOTHING_OLD
    status = _succeeds(account, "lake", "status", "--aws", "--json").json
    assert [one["missing_segments"] for one in status] == [0, 0]

    # two readers, and who is none
    target.roles["reader"] = made["ReaderRoleArn"]
    _gives_the_same_answers(target, folder)
    with pytest.raises(athena.QueryFailedError):
        _athena(target, "SELECT count(*) FROM readings")
    with acting(target, "reader"):
        refused = command.run(folder, "lake", "sync", "--aws")
    assert (refused.code, "not authorized" in refused.err) == (1, True), refused.err

    # away, with the data kept, and up again over it
    _succeeds(account, "destroy", "--yes")
    kept = {kind for kind, _ in holdings(target) - empty}
    assert kept == {"dynamodb table", "s3 bucket", "log group", "glue database"}
    _succeeds(account, "deploy", "--shards", "1", "--lake")
    status = _succeeds(account, "lake", "status", "--aws", "--json").json
    assert [(one["rows"], one["missing_segments"]) for one in status][1] == (len(sent()), 0)

    # away for good
    gone = _succeeds(account, "destroy", "--yes", "--delete-data")
    assert f"deleted database {DATABASE}" in gone.err
    assert holdings(target) == empty


def _upload(target: Target) -> None:
    for key, (body, metadata) in build().objects.items():
        target.client("s3").put_object(
            Bucket=target.settings.bucket(target.account), Key=key, Body=body, Metadata=metadata
        )


def _is_scheduled_in_the_services_network(target: Target) -> None:
    (service,) = target.client("ecs").describe_services(
        cluster=STACK, services=[f"{STACK}-worker"]
    )["services"]
    network = service["networkConfiguration"]["awsvpcConfiguration"]
    stack = target.client("cloudformation").describe_stacks(StackName=f"{STACK}-lake")["Stacks"][0]
    given = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    assert given["SubnetIds"].split(",") == network["subnets"]
    assert [given["SecurityGroup"]] == network["securityGroups"]
    assert (given["Cluster"], given["Image"]) == (STACK, "registry/penstock:1")
    scheduler = target.client("scheduler")
    for name in (f"{STACK}-lake-sync", f"{STACK}-lake-compact", f"{STACK}-lake-clean"):
        found = scheduler.get_schedule(GroupName=f"{STACK}-lake", Name=name)["Target"]
        assert found["Arn"].endswith(f":cluster/{STACK}")
        assert f"task-definition/{name}:" in found["EcsParameters"]["TaskDefinitionArn"]


def _gives_the_same_answers(target: Target, folder: Path) -> None:
    for what, text in SAME_ANSWERS.items():
        here = text.format(
            records="records",
            hours="arrived_at >= TIMESTAMPTZ '2026-11-23 08:00:00Z' "
            "AND arrived_at < TIMESTAMPTZ '2026-11-23 10:00:00Z'",
        )
        there = text.format(records="archive", hours="dt = '2026-11-23' AND hour IN (8, 9)")
        with acting(target, "reader"):
            asked = command.run(folder, "sql", here, "--json", "--aws")
        assert asked.code == 0, asked.err
        ours = [{name: str(value) for name, value in row.items()} for row in asked.json]
        assert ours, what
        assert _athena(target, there) == ours, what


def _athena(target: Target, sql: str) -> list[dict[str, str | None]]:
    client = target.client("athena", "reader")
    return athena.answer(client, sql, database=DATABASE, workgroup=f"{STACK}-lake")


def test_a_lake_whose_segments_would_go_to_deep_archive_before_it_reads_them_is_refused(
    account: Account,
) -> None:
    refused = account.penstock("deploy", "--lake", "--deep-archive-after", "3")
    assert (refused.code, "at least 7 days are needed" in refused.err) == (1, True), refused.err
