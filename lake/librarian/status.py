"""How far the lake's tables are behind the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pyiceberg.catalog import Catalog

from lake.archive.segments import list_segments
from lake.catalog.config import READINGS, RECORDS, CatalogConfig
from lake.catalog.positions import reached_in
from lake.catalog.tables import summary

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class TableStatus(NamedTuple):
    """A table: its files, rows and snapshots; how many segments of the archive are not in it, and
    when the oldest of them arrived (ms since 1970, the beginning of its hour)."""

    table: str
    files: int
    rows: int
    snapshots: int
    missing_segments: int
    oldest_missing_ms: int | None


def status(catalog: Catalog, config: CatalogConfig, s3: S3Client, bucket: str) -> list[TableStatus]:
    """The two tables; one that is not there has no rows and misses everything."""
    return [_of_table(catalog, config, s3, bucket, name) for name in (RECORDS, READINGS)]


def _of_table(
    catalog: Catalog, config: CatalogConfig, s3: S3Client, bucket: str, name: str
) -> TableStatus:
    found: dict[str, Any] = {}
    newest: dict[str, str] = {}
    snapshots = 0
    if catalog.table_exists(config.table(name)):
        table = catalog.load_table(config.table(name))
        found = dict(summary(table))
        snapshots = len(table.snapshots())
        current = table.current_snapshot()
        if current is not None and current.summary is not None:
            newest = current.summary.additional_properties
    reached = reached_in(found)
    listed = list_segments(s3, bucket, start_ms=reached.start_ms)
    missing = [one for one in listed if not reached.has(one)]
    return TableStatus(
        name,
        int(newest.get("total-data-files", 0)),
        int(newest.get("total-records", 0)),
        snapshots,
        len(missing),
        min((one.start_ms for one in missing), default=None),
    )
