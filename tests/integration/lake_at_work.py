"""The lake's roles at work: the tasks' commands, queries in Athena, repairs from the archive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from infra.target import Target
from ingest.stream import Record, put_all
from lake.catalog.config import namespace_of
from tests.harness import athena, command


@contextmanager
def acting(target: Target, role: str, more: Mapping[str, str] | None = None) -> Iterator[None]:
    """Commands that are started meanwhile have the credentials of a role, as a task of ECS has
    them, and the settings of the target."""
    keys, settings, before = target.assume_with_expiry(role), target.settings, command.extra
    command.extra = {
        "PENSTOCK_ENDPOINT_URL": str(settings.endpoint_url),
        "PENSTOCK_STACK": settings.stack,
        "PENSTOCK_REGION": settings.region,
        "PENSTOCK_LAKE_CATALOG": "glue",
        "PENSTOCK_SEGMENT_AGE_S": str(settings.segment_age_s),
        "PENSTOCK_LATEST_FLUSH_S": str(settings.latest_flush_s),
        "PENSTOCK_TIERS": json.dumps(msgspec.to_builtins(settings.tiers)),
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
        **(more or {}),
    }
    try:
        yield
    finally:
        command.extra = before


def done(folder: Path, *arguments: str, codes: Sequence[int] = (0,)) -> command.Result:
    """A command that must succeed."""
    result = command.run(folder, *arguments, "--aws", seconds=200)
    assert result.code in codes, (arguments, result.out, result.err)
    return result


def keep_tables(target: Target, folder: Path) -> None:
    """As the scheduled tasks do, and as a person does after a catalog was lost."""
    with acting(target, "lake"):
        assert done(folder, "lake", "sync", "--json").json["segments"] > 0
        assert done(folder, "lake", "compact", "--json").json["readings"] > 0
        assert done(folder, "lake", "rebuild", "--yes", "--json").json["registered"]["segments"]
    bucket = target.settings.bucket(target.account)
    with acting(target, "lake-clean"):  # a commit leaves nothing behind that is old enough here
        assert done(folder, "lake", "clean", "--forget", "0", "--json").json["snapshots"] >= 0
    for key in ("lake/readings/data/of-no-snapshot", "lake/readings/metadata/of-no-snapshot"):
        target.client("s3").put_object(Bucket=bucket, Key=key, Body=b"")
        target.client("s3", "lake-clean").delete_object(Bucket=bucket, Key=key)


def query(target: Target, folder: Path) -> None:
    """As an analyst does: with `penstock sql`, and in Athena."""
    with acting(target, "reader"):
        count = done(folder, "sql", "SELECT count(*) AS n FROM records", "--json").json
        done(folder, "sql", "SELECT count(*) AS n FROM readings")
    client, stack = target.client("athena", "reader"), target.settings.stack
    database, workgroup = namespace_of(stack), f"{stack}-lake"
    sql = "SELECT count(*) AS n FROM archive"
    found = athena.answer(client, sql, database=database, workgroup=workgroup)
    assert found == [{"n": str(count[0]["n"])}]
    client.get_work_group(WorkGroup=workgroup)
    running = client.start_query_execution(
        QueryString=sql, WorkGroup=workgroup, QueryExecutionContext={"Database": database}
    )["QueryExecutionId"]
    client.stop_query_execution(QueryExecutionId=running)
    bucket = target.settings.bucket(target.account)
    results = target.client("s3").list_objects_v2(Bucket=bucket, Prefix="athena/")["Contents"]
    target.client("s3", "reader").get_object(Bucket=bucket, Key=results[0]["Key"])["Body"].read()


def repair(target: Target, folder: Path) -> None:
    """As an operator does whose hot tables lost something, or hold what was never archived."""
    dynamodb, settings = target.client("dynamodb"), target.settings
    lost, extra, wrong, *_ = _windows(dynamodb, settings.windows_table)
    dynamodb.delete_item(TableName=settings.windows_table, Key=_key(lost, "device", "window"))
    extra["ids"]["M"]["boot-of-nobody"] = {"S": "5-6"}
    wrong["n"] = {"N": "77"}
    for item in (extra, wrong):
        item["updated_at"] = {"N": "0"}  # nothing is on its way any more
        dynamodb.put_item(TableName=settings.windows_table, Item=item)
    device = {"device": lost["device"]}
    dynamodb.delete_item(TableName=settings.devices_table, Key=device)
    with acting(target, "replay"):
        found = done(folder, "audit", "--device", lost["device"]["S"], codes=(0, 1))
        assert "windows compared" in found.out
        done(folder, "replay", "--processes", "1")
        made = done(folder, "rebuild", "--drop-unarchived", "--json", codes=(0, 1)).json
        assert made["written"] >= 1
        done(folder, "rejects", "list")
    record = Record(b"as `penstock rejects redrive` puts it", lost["device"]["S"])
    put_all(target.client("kinesis", "replay"), settings.stream, [record])


def _windows(dynamodb: Any, table: str) -> list[Any]:
    """Windows of the smallest tier."""
    items = dynamodb.scan(TableName=table)["Items"]
    tier = min(item["window"]["S"].split("#")[0] for item in items)
    return [item for item in items if item["window"]["S"].startswith(f"{tier}#")]


def _key(item: Any, *names: str) -> dict[str, Any]:
    return {name: item[name] for name in names}
