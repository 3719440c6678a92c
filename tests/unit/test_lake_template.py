"""The lake's template: the tables are the archive's, the tasks are commands, limits are set."""

from __future__ import annotations

import json
from typing import Any, Final

import pyarrow as pa
import pytest
from cfnlint.decode import decode

from consumers.archive.segment_key import HOUR_MS, PREFIX, object_key
from consumers.kcl.position import position
from infra.aws.stacks.template import TEMPLATE
from infra.cli import penstock
from ingest.settings import Settings
from lake.archive.rows import ROW_SCHEMA
from lake.catalog.config import namespace_of
from tests.harness.shard import NOW
from tests.harness.template import resources, substituted

ACCOUNT, REGION, STACK = "123456789012", "eu-west-1", "plant-7"
SETTINGS: Final = Settings(stack=STACK, region=REGION)
LAKE: Final = TEMPLATE.parent / "lake.yaml"
RAW: Final[dict[str, Any]] = decode(LAKE)[0]["Resources"]
RESOURCES: Final = resources(STACK, REGION, ACCOUNT, LAKE, {"Pipeline": STACK, "Cluster": STACK})
TABLE: Final[dict[str, Any]] = RESOURCES["ArchiveTable"]["Properties"]["TableInput"]
TASKS: Final = {"sync": "SyncTask", "compact": "CompactTask", "clean": "CleanTask"}

_GLUE: Final = {
    pa.string(): "string",
    pa.timestamp("ms", tz="UTC"): "timestamp",
    pa.int64(): "bigint",
    pa.int32(): "int",
    pa.binary(): "binary",
    pa.map_(pa.string(), pa.float64()): "map<string,double>",
}


def _container(task: str) -> dict[str, Any]:
    (found,) = RESOURCES[TASKS[task]]["Properties"]["ContainerDefinitions"]
    return dict(found)


def test_the_external_table_has_the_columns_of_the_archive() -> None:
    columns = [(one["Name"], one["Type"]) for one in TABLE["StorageDescriptor"]["Columns"]]
    assert columns == [(field.name, _GLUE[field.type]) for field in ROW_SCHEMA]


def test_its_projected_partitions_are_the_prefixes_of_segments() -> None:
    """Athena user guide, "Supported types for partition projection": ``digits`` pads a number with
    zeros; "Setting up partition projection": ``storage.location.template``."""
    table = TABLE["Parameters"]
    key = object_key("shardId-000000000000", position("7", 0), NOW // HOUR_MS)
    day, hour = (part.partition("=")[2] for part in key.split("/")[2:4])
    template = table["storage.location.template"].replace("${dt}", day).replace("${hour}", hour)
    assert f"s3://{SETTINGS.bucket(ACCOUNT)}/{key}".startswith(f"{template}/")
    assert table["projection.hour.range"] == "0,23"
    assert len(hour) == int(table["projection.hour.digits"])
    assert table["projection.dt.format"] == "yyyy-MM-dd"
    assert TABLE["StorageDescriptor"]["Location"].endswith(f"/{PREFIX}/")
    assert [one["Name"] for one in TABLE["PartitionKeys"]] == ["dt", "hour"]


def test_the_database_is_the_one_in_which_the_commands_keep_their_tables() -> None:
    database = RESOURCES["Database"]["Properties"]["DatabaseInput"]["Name"]
    assert database == namespace_of(STACK)


def test_the_catalog_outlives_its_stack_as_the_archive_does() -> None:
    assert RAW["Database"]["DeletionPolicy"] == "RetainExceptOnCreate"


def test_a_query_in_athena_has_a_limit_and_its_result_an_end() -> None:
    group = RESOURCES["Workgroup"]["Properties"]["WorkGroupConfiguration"]
    assert group["EnforceWorkGroupConfiguration"] is True
    assert group["BytesScannedCutoffPerQuery"] == "<ScanLimitBytes>"
    place = group["ResultConfiguration"]["OutputLocation"]
    prefix = place.removeprefix(f"s3://{SETTINGS.bucket(ACCOUNT)}/")
    bucket = resources(STACK, REGION, ACCOUNT)["ArchiveBucket"]["Properties"]
    rules = bucket["LifecycleConfiguration"]["Rules"]
    (expiry,) = [one for one in rules if one.get("Prefix") == prefix]
    assert (expiry["Status"], expiry["ExpirationInDays"]) == ("Enabled", 7)


def test_nothing_that_proves_is_deleted_or_moved_unless_it_is_asked_for() -> None:
    bucket = resources(STACK, REGION, ACCOUNT)["ArchiveBucket"]["Properties"]
    always = [one for one in bucket["LifecycleConfiguration"]["Rules"] if "Fn::If" not in one]
    expiring = {one.get("Prefix") for one in always if "ExpirationInDays" in one}
    assert expiring == {"athena/"}
    assert not [one for one in always if "Transitions" in one]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_runs_a_command_that_there_is_with_settings_that_there_are(task: str) -> None:
    container = _container(task)
    program, group, command, *options = container["Command"]
    assert (program, group, command) == ("penstock", "lake", task)
    lake: Any = penstock.get_command(None, "lake")  # type: ignore[arg-type]
    known = {name for option in lake.commands[command].params for name in option.opts}
    assert set(options) <= known
    names = {one["Name"].removeprefix("PENSTOCK_").lower() for one in container["Environment"]}
    assert names <= set(Settings.model_fields)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_writes_only_its_own_folders_and_is_not_root(task: str) -> None:
    container = _container(task)
    assert container["ReadonlyRootFilesystem"] is True
    assert not container["User"].startswith("0")
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}


def test_the_schedules_may_start_these_tasks_in_this_cluster_and_no_others() -> None:
    (policy,) = RESOURCES["ScheduleRole"]["Properties"]["Policies"]
    run, pass_roles = policy["PolicyDocument"]["Statement"]
    assert run["Resource"] == [f"<{name}>" for name in TASKS.values()]
    cluster = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{STACK}"
    assert run["Condition"] == {"ArnEquals": {"ecs:cluster": cluster}}
    assert pass_roles["Resource"] == [
        "<LakeRole.Arn>",
        "<LakeCleanRole.Arn>",
        "<ExecutionRole.Arn>",
    ]
    trust = RESOURCES["ScheduleRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
    group = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/{STACK}-lake"
    assert trust["Condition"]["StringEquals"]["aws:SourceArn"] == group


def test_sync_runs_often_and_compaction_every_hour() -> None:
    """EventBridge Scheduler user guide, "Cron-based schedules": minutes come first."""
    for name, expected in (("SyncSchedule", "cron(0/5 * * * ? *)"),
                           ("CompactSchedule", "cron(7 * * * ? *)")):  # fmt: skip
        expression = RAW[name]["Properties"]["ScheduleExpression"]["Fn::Sub"]
        assert substituted(expression, {"SyncMinutes": "5", "CompactMinute": "7"}) == expected


def test_the_lakes_role_can_delete_no_file_but_old_metadata() -> None:
    text = json.dumps(RESOURCES["LakeRole"]["Properties"]["Policies"])
    statements = json.loads(text)[0]["PolicyDocument"]["Statement"]
    (removal,) = [one for one in statements if "s3:DeleteObject" in one["Action"]]
    bucket = SETTINGS.bucket(ACCOUNT)
    assert removal["Resource"] == f"arn:aws:s3:::{bucket}/lake/*/metadata/*"
    (write,) = [one for one in statements if one["Action"] == "s3:PutObject"]
    assert write["Resource"] == f"arn:aws:s3:::{bucket}/lake/*"


def test_only_cleaning_deletes_files_of_the_tables_and_nothing_deletes_of_the_archive() -> None:
    assert RESOURCES["CleanTask"]["Properties"]["TaskRoleArn"] == "<LakeCleanRole.Arn>"
    bucket = SETTINGS.bucket(ACCOUNT)
    deletes: dict[str, Any] = {
        name: one["Resource"]
        for name in ("LakeRole", "LakeCleanRole", "ReplayRole")
        for one in RESOURCES[name]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        if "s3:DeleteObject" in one["Action"]
    }
    prefix = f"arn:aws:s3:::{bucket}/lake/*"
    assert deletes.pop("LakeCleanRole") == [f"{prefix}/data/*", f"{prefix}/metadata/*"]
    assert deletes == {"LakeRole": f"{prefix}/metadata/*"}
