"""``penstock lake`` as a user runs it, with SQLite and with Glue, on the embedded AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.archive.tables import open_catalog_of
from infra.emulator.process import Emulator
from infra.target import Target
from lake.catalog.lock import held
from tests.harness import command
from tests.harness.command import run
from tests.harness.known_archive import HOURS, build, sent
from tests.harness.lake import commit, message
from tests.harness.shard import NOW
from tests.integration.conftest import STACK, commands_on, target_of

pytestmark = STACK
COUNTS = "SELECT device_id, count(*) AS n FROM readings GROUP BY ALL ORDER BY ALL"


@pytest.fixture(params=["sqlite", "glue"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lake(
    kind: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    stack = f"lake-{kind}"
    target = target_of(emulator, stack, lake_catalog=kind, devices_dir=tmp_path / "devices")
    bucket = target.settings.bucket(target.account)
    target.client("s3").create_bucket(Bucket=bucket)
    kinesis = target.client("kinesis")
    kinesis.create_stream(StreamName=target.settings.stream, ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName=target.settings.stream)
    kinesis.increase_stream_retention_period(  # the known archive's times are of November 2026
        StreamName=target.settings.stream, RetentionPeriodHours=8760
    )
    upload(target, build())
    with commands_on(emulator, stack, monkeypatch):
        monkeypatch.setitem(command.extra, "PENSTOCK_LAKE_CATALOG", kind)
        monkeypatch.setitem(command.extra, "PENSTOCK_DEVICES_DIR", str(tmp_path / "devices"))
        yield target
    s3 = target.client("s3")
    for one in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        s3.delete_object(Bucket=bucket, Key=one["Key"])
    s3.delete_bucket(Bucket=bucket)
    target.client("kinesis").delete_stream(StreamName=target.settings.stream)


def upload(target: Target, bucket: Any) -> None:
    for key, (body, metadata) in bucket.objects.items():
        target.client("s3").put_object(
            Bucket=target.settings.bucket(target.account), Key=key, Body=body, Metadata=metadata
        )


def counts(folder: Path) -> tuple[Any, str]:
    answer = run(folder, "sql", COUNTS, "--json")
    return json.loads(answer.out), answer.err


def test_the_lake_is_synced_compacted_asked_and_made_again(lake: Target, tmp_path: Path) -> None:
    expected, err = counts(tmp_path)
    assert f"from {HOURS} objects" in err
    assert sum(one["n"] for one in expected) == len(sent())

    assert run(tmp_path, "lake", "sync", "--json").json["segments"] == HOURS
    compacted = run(tmp_path, "lake", "compact", "--json").json
    assert compacted["readings"] == len(sent())
    again, err = counts(tmp_path)
    assert again == expected
    assert f"from {HOURS} objects" not in err  # the compacted file instead

    extra = build()
    extra.objects.clear()
    commit(extra, [message(9_999, "mill-1", seq=77, arrived_at=NOW + 9 * 3_600_000)])
    upload(lake, extra)
    newer, _ = counts(tmp_path)  # what is not compacted yet is seen at once
    assert {one["device_id"]: one["n"] for one in newer}["mill-1"] == expected[0]["n"] + 1
    behind = run(tmp_path, "lake", "status", "--json").json
    assert [one["missing_segments"] for one in behind] == [1, 1]

    assert_pyiceberg_agrees(lake, "readings", len(sent()))
    rebuilt = run(tmp_path, "lake", "rebuild", "--yes", "--json").json
    assert rebuilt["registered"]["segments"] == HOURS + 1
    assert rebuilt["compacted"]["readings"] == len(sent()) + 1
    assert counts(tmp_path)[0] == newer
    assert [one["missing_segments"] for one in run(tmp_path, "lake", "status", "--json").json] == [
        0,
        0,
    ]


def assert_pyiceberg_agrees(target: Target, table: str, rows: int) -> None:
    catalog, config = open_catalog_of(target)
    assert catalog.load_table(config.table(table)).scan().to_arrow().num_rows == rows


@pytest.mark.parametrize("kind", ["sqlite"])  # the lease is in the bucket, whatever the catalog
def test_a_second_writer_is_told_of_the_first(lake: Target, tmp_path: Path) -> None:
    bucket = lake.settings.bucket(lake.account)
    with held(lake.client("s3"), bucket, "lake"):
        second = run(tmp_path, "lake", "sync")
        assert (second.code, "another writer is at work" in second.err) == (1, True)
    assert run(tmp_path, "lake", "sync").code == 0
