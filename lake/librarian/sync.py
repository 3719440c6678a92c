"""The librarian: registers committed segments in the Iceberg table ``records``, unchanged.

The order of one commit, and why it can be killed anywhere:

1. Read the positions in the table's newest snapshot, then list what follows them.
2. Add the files to a new snapshot that carries the new positions, on condition that the snapshot
   of step 1 is still the newest. The catalog decides: files and positions are there, or nothing is.
3. A writer that lost begins again at step 1, where it finds the other's positions.

What was written before the catalog decided (manifests) is named by no snapshot.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException

from lake.archive.objects import read_object
from lake.archive.segments import list_segments
from lake.catalog.config import RECORDS, CatalogConfig
from lake.catalog.positions import oldest_hour, reached_in, summary_of
from lake.catalog.tables import summary, table_of
from lake.librarian.plan import batches

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BATCH: Final = 500
"""Segments in a commit: a footer of each is read first."""
ATTEMPTS: Final = 5

Step = Callable[[str], object]
"""Told each step before the next begins; tests raise in it."""


class Synced(NamedTuple):
    """What a run registered."""

    segments: int
    commits: int


class BusyError(Exception):
    """Another writer kept committing to the table: run it again."""


def sync(
    catalog: Catalog,
    config: CatalogConfig,
    s3: S3Client,
    bucket: str,
    *,
    now_ms: int,
    retention_hours: int,
    step: Step = lambda _: None,
) -> Synced:
    """Register every segment that is committed now and not registered.

    :param retention_hours: how long the stream keeps records: older ones are never committed.
    :raises BusyError: when other writers won each attempt.
    :raises InGlacierError: when S3 must restore a segment first.
    """
    done = Synced(0, 0)
    for _ in range(ATTEMPTS):
        try:
            return _attempt(catalog, config, s3, bucket, now_ms, retention_hours, step, done)
        except CommitFailedException:
            step("lost")
    raise BusyError("other writers are at work on the catalog's table: run it again")


def _attempt(
    catalog: Catalog, config: CatalogConfig, s3: S3Client, bucket: str, now_ms: int,
    retention_hours: int, step: Step, done: Synced,
) -> Synced:  # fmt: skip
    table = table_of(catalog, config, RECORDS)
    reached = reached_in(summary(table))
    step("loaded")
    segments = list_segments(s3, bucket, start_ms=reached.start_ms)
    step("listed")
    hour = oldest_hour(now_ms, retention_hours)
    for batch in batches(segments, reached, hour, BATCH, sys.maxsize):
        try:
            with table.transaction() as transaction:
                transaction.add_files(
                    [f"{config.root}/{one.key}" for one in batch.segments],
                    snapshot_properties=summary_of(batch.reached),
                    check_duplicate_files=False,  # the positions decide
                )
                step("prepared")
        except OSError:
            for one in batch.segments:
                read_object(s3, bucket, one.key)  # names one that is in Glacier
            raise
        step("committed")
        done = Synced(done.segments + len(batch.segments), done.commits + 1)
    return done
