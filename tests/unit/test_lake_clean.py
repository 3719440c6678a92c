"""Cleaning the lake: what no snapshot names is removed, and nothing else."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consumers.archive.segment_key import HOUR_MS
from lake.catalog.clean import MIN_AGE_MS, Cleaned, OtherTableError, clean
from lake.catalog.config import READINGS, open_catalog
from tests.harness.lake import BUCKET
from tests.harness.lake_tables import KilledError, World, killed_at, world


class Listed:
    """The calls of an S3 client that cleaning makes, on the folder of a world's bucket."""

    def __init__(self, lake: World) -> None:
        self.lake = lake
        self.folder = Path(lake.bucket.config.root.removeprefix("file://"))

    def get_paginator(self, _: str) -> Listed:
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        assert Bucket == BUCKET
        yield {
            "Contents": [
                {
                    "Key": str(one.relative_to(self.folder)),
                    "Size": one.stat().st_size,
                    "LastModified": datetime.fromtimestamp(one.stat().st_mtime, UTC),
                }
                for one in sorted((self.folder / Prefix).rglob("*"))
                if one.is_file()
            ]
        }

    def get_object(self, **request: Any) -> Any:
        return self.lake.bucket.get_object(**request)

    def delete_objects(self, *, Bucket: str, Delete: Any) -> dict[str, Any]:
        assert Bucket == BUCKET
        for one in Delete["Objects"]:
            (self.folder / one["Key"]).unlink()
            self.lake.bucket.objects.pop(one["Key"], None)
        return {}

    def now_ms(self) -> int:
        """After everything that was written."""
        times = [one.stat().st_mtime for one in self.folder.rglob("*")]
        return int(max(times) * 1000) + 1000

    def clean(self, later_ms: int = MIN_AGE_MS, **options: Any) -> Cleaned:
        config, s3 = self.lake.bucket.config, self
        return clean(open_catalog(config), config, s3, BUCKET,  # type: ignore[arg-type]
                     now_ms=self.now_ms() + later_ms, **options)  # fmt: skip

    def keys(self, prefix: str) -> set[str]:
        page = next(self.paginate(Bucket=BUCKET, Prefix=prefix))
        return {one["Key"] for one in page["Contents"]}


@pytest.fixture
def lake(tmp_path: Path) -> World:
    made = world(tmp_path, seed=3)
    made.grow(0, segments=2)
    made.sync(0)
    made.compact(0)
    made.grow(1)
    return made


def assert_whole(lake: World) -> None:
    """Each snapshot can still be read, and the newest has every reading."""
    for snapshot in lake.table(READINGS).snapshots():
        lake.readings(snapshot.snapshot_id)
    lake.compact(2)
    assert Counter(lake.readings()) == Counter(lake.accepted(lake.archived))


def test_where_every_commit_succeeded_there_is_nothing_to_remove(lake: World) -> None:
    lake.compact(1)
    lake.compact(24 + 2)  # replaces files: older snapshots name them
    assert Listed(lake).clean().objects == 0
    assert_whole(lake)


@pytest.mark.parametrize("step", ["uploaded", "indexed", "prepared"])
def test_files_of_a_commit_that_failed_are_removed_when_they_are_old(
    lake: World, step: str
) -> None:
    before = Listed(lake).keys("lake/readings")
    with pytest.raises(KilledError):
        lake.compact(1, killed_at(step))
    left = Listed(lake).keys("lake/readings") - before
    assert left
    assert Listed(lake).clean(MIN_AGE_MS - HOUR_MS).objects == 0  # a writer may still commit them
    assert Listed(lake).clean(dry_run=True).objects == len(left)
    assert Listed(lake).clean().objects == len(left)
    assert Listed(lake).keys("lake/readings") == before
    assert_whole(lake)


def test_what_is_committed_while_it_cleans_stays(lake: World) -> None:
    """At each step, a writer that nothing keeps away commits."""

    def at(step: str) -> None:
        lake.grow(1)
        lake.compact(1)

    assert Listed(lake).clean(step=at).objects == 0
    assert_whole(lake)


def test_forgotten_snapshots_leave_with_the_files_that_only_they_named(lake: World) -> None:
    lake.compact(1)
    lake.compact(24 + 2)
    merged = Listed(lake).keys("lake/readings/data")
    cleaned = Listed(lake).clean(forget_ms=MIN_AGE_MS)
    assert cleaned.snapshots > 0
    table = lake.table(READINGS)
    assert len(table.snapshots()) == 1
    kept = {Path(one.file.file_path).name for one in table.scan().plan_files()}
    assert {Path(one).name for one in Listed(lake).keys("lake/readings/data")} == kept
    assert len(merged) > len(kept)
    assert lake.reached(READINGS).last  # the positions are still there
    assert_whole(lake)


def test_segments_are_never_removed(lake: World) -> None:
    segments = Listed(lake).keys("telemetry")
    assert segments == set(lake.archived)
    Listed(lake).clean(forget_ms=0)
    assert Listed(lake).keys("telemetry") == segments


def test_tables_that_the_catalog_does_not_know_are_left_alone(lake: World) -> None:
    Path(lake.bucket.config.uri).unlink()
    before = Listed(lake).keys("lake")
    assert Listed(lake).clean() == Cleaned()
    assert Listed(lake).keys("lake") == before


def test_another_catalogs_table_in_the_same_place_is_refused(lake: World) -> None:
    first = Path(lake.bucket.config.uri)
    hidden = first.with_name(uuid.uuid4().hex)
    first.rename(hidden)
    lake.compact(1)  # a second catalog, with a table of its own
    first.unlink()
    hidden.rename(first)
    lake.compact(1)
    before = Listed(lake).keys("lake")
    with pytest.raises(OtherTableError, match="another catalog"):
        Listed(lake).clean()
    assert Listed(lake).keys("lake") == before


def test_a_former_table_is_removed_after_the_tables_were_made_again(lake: World) -> None:
    catalog, config = open_catalog(lake.bucket.config), lake.bucket.config
    former = Listed(lake).keys("lake/readings")
    catalog.drop_table(config.table(READINGS))
    lake.compact(1)
    assert Listed(lake).clean().objects == len(former)
    assert_whole(lake)
