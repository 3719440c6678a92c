"""``penstock lake`` as a user runs it, with each kind of catalog, on the embedded AWS."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.credentials import Credentials

from infra.archive.tables import open_catalog_of
from infra.emulator.process import Emulator
from infra.target import Target
from lake.catalog.config import aws_properties, namespace_of
from lake.catalog.lock import held
from tests.harness import command
from tests.harness.command import run
from tests.harness.known_archive import HOURS, build, sent
from tests.harness.lake import commit, message
from tests.harness.rest_catalog import rest_catalog
from tests.harness.shard import NOW
from tests.integration.conftest import STACK, commands_on, target_of

pytestmark = STACK
COUNTS = "SELECT device_id, count(*) AS n FROM readings GROUP BY ALL ORDER BY ALL"


@pytest.fixture(params=["sqlite", "glue", "rest"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def uri(kind: str, emulator: Emulator, tmp_path: Path) -> Iterator[str | None]:
    """Where the catalog is, for kinds that are somewhere."""
    if kind != "rest":
        yield None
        return
    properties = aws_properties("us-east-1", emulator.endpoint_url, Credentials("test", "test"))
    with rest_catalog(tmp_path / "server.sqlite", properties) as url:
        yield url


@pytest.fixture
def lake(
    kind: str, uri: str | None, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    stack = f"lake-{kind}"
    target = target_of(
        emulator, stack, lake_catalog=kind, lake_catalog_uri=uri, devices_dir=tmp_path / "devices"
    )
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
        if uri is not None:
            monkeypatch.setitem(command.extra, "PENSTOCK_LAKE_CATALOG_URI", uri)
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
    cleaned = run(tmp_path, "lake", "clean", "--forget", "0", "--json").json
    assert cleaned == {"snapshots": 0, "objects": 0, "bytes": 0}  # all is in use
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


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_segment_that_is_in_glacier_is_named_by_who_needs_it(
    lake: Target, tmp_path: Path
) -> None:
    """The embedded AWS refuses to read it, as S3 does."""
    bucket, s3 = lake.settings.bucket(lake.account), lake.client("s3")
    key = s3.list_objects_v2(Bucket=bucket, Prefix="telemetry/")["Contents"][0]["Key"]
    found = s3.get_object(Bucket=bucket, Key=key)
    whole = {"Body": found["Body"].read(), "Metadata": found["Metadata"]}
    s3.put_object(Bucket=bucket, Key=key, StorageClass="DEEP_ARCHIVE", **whole)
    span = ("--from", "2026-11-23T07:00Z", "--to", "2026-11-23T12:00Z")
    for arguments in (
        ("lake", "sync"), ("lake", "compact"), ("rejects", "list", *span),
        ("sql", "SELECT count(*) FROM records"),
    ):  # fmt: skip
        refused = run(tmp_path, *arguments)
        assert refused.code == 1, refused.out
        assert f"{key} is in S3 Glacier" in refused.err, arguments
    s3.put_object(Bucket=bucket, Key=key, **whole)
    assert run(tmp_path, "lake", "sync", "--json").json["segments"] == HOURS


@pytest.mark.parametrize("kind", ["sqlite"])
def test_the_page_copies_a_day_into_s3_tables_as_often_as_one_likes(
    lake: Target, emulator: Emulator, tmp_path: Path
) -> None:
    """AWS documentation, "Accessing tables using the Amazon S3 Tables Iceberg REST endpoint"."""
    assert run(tmp_path, "lake", "compact", "--json").json["readings"] == len(sent())
    configuration, program = _of_the_page()
    configured = yaml.safe_load(configuration)["catalog"]["s3tables"]
    assert configured["uri"] == "https://s3tables.eu-west-1.amazonaws.com/iceberg"
    assert configured["warehouse"].startswith("arn:aws:s3tables:eu-west-1:")
    bucket = lake.client("s3tables").create_table_bucket(name="penstock")["arn"]
    keys = aws_properties("us-east-1", emulator.endpoint_url, Credentials("test", "test"))
    catalogs = {
        "penstock": {"type": "sql", "uri": f"sqlite:///{tmp_path}/lake.sqlite", **keys},
        "s3tables": {
            **configured, **keys, "uri": f"{emulator.endpoint_url}/iceberg", "warehouse": bucket,
            "rest.signing-region": "us-east-1",
        },
    }  # fmt: skip
    (tmp_path / ".pyiceberg.yaml").write_text(yaml.safe_dump({"catalog": catalogs}))
    name = namespace_of(lake.settings.stack)
    program = program.replace("penstock_lake", name)
    program += f'print(load_catalog("s3tables").load_table("{name}.readings").scan().count())\n'
    start = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
    of_the_day = sum(start <= one.ts < start + 86_400_000 for one in sent())
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, text=True, capture_output=True,
            env={**command.environment(), "PYICEBERG_HOME": str(tmp_path)}, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) == of_the_day > 0


def _of_the_page() -> tuple[str, str]:
    """The configuration and the program of docs/lake.md, "S3 Tables"."""
    page = (Path(__file__).parents[2] / "docs" / "lake.md").read_text()
    section = page.partition("### S3 Tables")[2].partition("\n## ")[0]
    found = re.search(r"```yaml\n(.*?)```.*?```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1], found[2]
