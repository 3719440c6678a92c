"""Removes what no snapshot names from below ``lake/``: files of commits that failed, and of
snapshots that were forgotten. Segments are never touched.

Why no reader and no writer misses anything:

1. Objects are listed before the table's metadata is read. What a writer commits meanwhile is named
   there, or it was not listed.
2. What a writer has written and not committed yet is younger than ``min_age_ms``.
3. A table that this catalog does not have, or another catalog's in the same place, is left alone:
   its snapshots cannot be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from lake.catalog.config import FOLDER, READINGS, RECORDS, CatalogConfig
from lake.catalog.named import named_keys, replaced_before

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HOUR_MS: Final = 3_600_000
MIN_AGE_MS: Final = 24 * HOUR_MS
"""Far longer than a writer takes from a file to its commit."""
_AT_ONCE: Final = 1_000
"""Keys of one request of S3 that deletes."""


class Stored(NamedTuple):
    """An object: its key and size (bytes), and when it was written (ms since 1970)."""

    key: str
    size: int
    modified_ms: int


class Cleaned(NamedTuple):
    """What was removed: snapshots forgotten, objects deleted and their bytes."""

    snapshots: int = 0
    objects: int = 0
    bytes: int = 0


class OtherTableError(Exception):
    """Another catalog's table is in the same place; the text says what to do."""


def clean(
    catalog: Catalog,
    config: CatalogConfig,
    s3: S3Client,
    bucket: str,
    *,
    now_ms: int,
    min_age_ms: int = MIN_AGE_MS,
    forget_ms: int | None = None,
    dry_run: bool = False,
    step: Callable[[str], object] = lambda _: None,
) -> Cleaned:
    """Clean both tables, and forget snapshots that were replaced longer than ``forget_ms`` ago.

    :param dry_run: only count.
    :raises OtherTableError: when the tables of another catalog are in the same place.
    :raises CommitFailedException: when another writer committed while snapshots were forgotten.
    """
    done = Cleaned()
    for name in (RECORDS, READINGS):
        listed = list(_listed(s3, bucket, f"{FOLDER}/{name}/"))
        step("listed")
        if not catalog.table_exists(config.table(name)):
            continue
        table = catalog.load_table(config.table(name))
        forgotten = [] if forget_ms is None else replaced_before(table, now_ms - forget_ms)
        if forgotten and not dry_run:
            table.maintenance.expire_snapshots().by_ids(forgotten).commit()
            table = catalog.load_table(config.table(name))
        step("named")
        named = named_keys(table, config, files=name == READINGS)
        unnamed = [one for one in listed if one.key not in named]
        _refuse_others(table, s3, bucket, unnamed)
        orphans = [one for one in unnamed if one.modified_ms < now_ms - min_age_ms]
        if not dry_run:
            _delete(s3, bucket, [one.key for one in orphans])
        done = Cleaned(
            done.snapshots + len(forgotten),
            done.objects + len(orphans),
            done.bytes + sum(one.size for one in orphans),
        )
    return done


def _refuse_others(table: Table, s3: S3Client, bucket: str, unnamed: list[Stored]) -> None:
    """:raises OtherTableError: when metadata of another table is newer than this table's oldest
    snapshot. That of a former table, before a rebuild, is older."""
    since = min((one.timestamp_ms for one in table.metadata.snapshots), default=0)
    for one in unnamed:
        if one.key.endswith(".metadata.json") and one.modified_ms > since:
            body = s3.get_object(Bucket=bucket, Key=one.key)["Body"].read()
            if orjson.loads(body).get("table-uuid") != str(table.metadata.table_uuid):
                raise OtherTableError(
                    f"{one.key} is of another catalog's table: clean with that catalog's settings "
                    "(lake_catalog, lake_catalog_uri), or let only one catalog use the bucket"
                )


def _listed(s3: S3Client, bucket: str, prefix: str) -> Iterator[Stored]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for one in page.get("Contents", []):
            yield Stored(one["Key"], one["Size"], int(one["LastModified"].timestamp() * 1000))


def _delete(s3: S3Client, bucket: str, keys: list[str]) -> None:
    """:raises RuntimeError: with S3's word for the first that it refuses."""
    for begin in range(0, len(keys), _AT_ONCE):
        objects: Any = [{"Key": one} for one in keys[begin : begin + _AT_ONCE]]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        for error in answer.get("Errors", []):
            raise RuntimeError(f"S3 does not delete {error['Key']}: {error['Message']}")
