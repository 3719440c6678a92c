"""Deleting what a deleted stack leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.aws.removal.erase import delete_data
from infra.aws.stacks.cloudformation import ensure_ttl
from infra.aws.stacks.following import DeployError


class Tables:
    """Tables by name, and whether they are protected."""

    def __init__(self, **tables: bool) -> None:
        self.tables = {name.replace("_", "-"): held for name, held in tables.items()}
        self.ttl = "DISABLED"

    def describe_table(self, *, TableName: str) -> dict[str, Any]:
        if TableName not in self.tables:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeTable")
        return {"Table": {"DeletionProtectionEnabled": self.tables[TableName]}}

    def update_table(self, *, TableName: str, DeletionProtectionEnabled: bool) -> None:
        assert self.tables[TableName] is not DeletionProtectionEnabled
        self.tables[TableName] = DeletionProtectionEnabled

    def delete_table(self, *, TableName: str) -> None:
        assert not self.tables.pop(TableName), "it is protected"

    def get_waiter(self, _: str) -> Tables:
        return self

    def wait(self, **_: Any) -> None:
        """Everything happens at once here."""

    def describe_time_to_live(self, *, TableName: str) -> dict[str, Any]:
        return {"TimeToLiveDescription": {"TimeToLiveStatus": self.ttl}}

    def update_time_to_live(self, *, TableName: str, TimeToLiveSpecification: Any) -> None:
        assert TimeToLiveSpecification == {"Enabled": True, "AttributeName": "expires_at"}
        self.ttl = "ENABLING"


class Bucket:
    """A bucket of pages of versions; ``errors`` is what S3 answers to a deletion."""

    def __init__(self, pages: list[Any], errors: list[Any] | None = None) -> None:
        self.pages, self.errors = pages, errors or []
        self.doomed: list[Any] = []
        self.gone = False

    def get_paginator(self, _: str) -> Bucket:
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[Any]:
        yield from self.pages

    def delete_objects(self, *, Bucket: str, Delete: Any) -> dict[str, Any]:
        self.doomed += Delete["Objects"]
        return {"Errors": self.errors}

    def delete_bucket(self, *, Bucket: str) -> None:
        self.gone = True


class Logs:
    """Log groups by name."""

    def __init__(self, *groups: str) -> None:
        self.groups = set(groups)

    def delete_log_group(self, *, logGroupName: str) -> None:
        if logGroupName not in self.groups:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DeleteLogGroup")
        self.groups.remove(logGroupName)


def _delete(tables: Any, bucket: Any) -> list[str]:
    names = ["p-windows", "p-devices"]
    return list(
        delete_data(
            tables, bucket, Logs("/p/hook"), tables=names, prefix="p-worker", bucket="b",
            log_groups=["/p/hook", "/p/gone"],
        )
    )  # fmt: skip


def test_deleting_the_data_takes_protection_off_and_leaves_neighbours_alone() -> None:
    tables = Tables(p_windows=True, p_worker=False, p_worker_windows=True, p_worker_x=False)
    assert _delete(tables, Bucket([])) == [
        "table p-windows", "table p-worker", "bucket b", "log group /p/hook",
    ]  # fmt: skip
    assert set(tables.tables) == {"p-worker-windows", "p-worker-x"}


def test_every_version_goes_before_the_bucket() -> None:
    one, two = ({"Key": "k", "VersionId": v} for v in "12")
    bucket = Bucket([{"Versions": [one], "DeleteMarkers": [two]}, {}])
    assert _delete(Tables(), bucket) == ["bucket b", "log group /p/hook"]
    assert bucket.doomed == [one, two]


def test_an_object_that_s3_keeps_is_named_and_the_bucket_stays() -> None:
    one = {"Key": "k", "VersionId": "1"}
    bucket = Bucket([{"Versions": [one]}], errors=[{"Key": "k", "Message": "locked"}])
    with pytest.raises(DeployError, match="S3 keeps b/k: locked"):
        _delete(Tables(), bucket)
    assert not bucket.gone


def test_time_to_live_is_asked_for_only_where_it_is_missing() -> None:
    tables: Any = Tables()
    assert ensure_ttl(tables, "p-windows")
    assert not ensure_ttl(tables, "p-windows")
