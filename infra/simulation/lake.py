"""Bring a local stack's lake up to date, and compare it with the ledger and the archive.

What the tables hold is read with PyIceberg alone, as other programs read them.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.archive.lake import archive_bucket, compact_lake, sync_lake, writing
from infra.archive.tables import open_catalog_of
from infra.target import Target
from lake.archive.segments import extent_of
from lake.catalog.positions import reached_in
from simulator.verification.lake import (
    DAY_MS,
    READINGS,
    RECORDS,
    LakeReading,
    LakeReport,
    Snapshot,
    compare_lake,
    content_of,
)
from simulator.verification.observe import archive_rows
from simulator.verification.room import Place

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

_COLUMNS: dict[str, tuple[str, ...]] = {
    RECORDS: ("shard_id", "sequence_number", "sub_sequence", "reading"),
    READINGS: ("device_id", "boot", "seq"),
}
"""What identifies a row of a table; ``ts`` and ``metrics`` are what it says."""


def preload() -> threading.Thread:
    """Import what the lake needs in a thread: two to three seconds of CPU, which a run has while it
    waits for the archive. Join it before the lake is used."""
    thread = threading.Thread(target=_import, name="preload-lake", daemon=True)
    thread.start()
    return thread


def _import() -> None:
    import pyiceberg.catalog.sql
    import pyiceberg.io.pyarrow  # noqa: F401


def of_run(target: Target, folder: Path) -> Target:
    """The stack with a lake whose catalog is a file in the run's folder, whatever the user's
    settings say: a run writes into no catalog but its own."""
    own = {"lake_catalog": "sqlite", "lake_catalog_uri": str((folder / "lake.sqlite").absolute())}
    return Target(
        target.settings.model_copy(update=own), target.account, target.roles, target.local,
        target.status_url,
    )  # fmt: skip


def update_lake(target: Target) -> None:
    """Register and compact everything that is archived.

    :raises UserError: when another writer is at work.
    """
    with writing(target):
        sync_lake(target)
        compact_lake(target)


def check_lake(target: Target, accepted: Collection[LakeReading]) -> LakeReport:
    """Compare every snapshot of the lake's tables with the archive, and the newest ones with what
    must have been ``accepted`` of the ledger."""
    s3 = target.client("s3")
    catalog, config = open_catalog_of(target)
    archived, _ = archive_rows(s3, archive_bucket(target))
    tables = {name: _table(catalog, config.table(name)) for name in (RECORDS, READINGS)}
    ends: dict[str, tuple[int, int]] = {}

    def last_of(key: str) -> tuple[int, int]:
        if key not in ends:
            end = extent_of(s3, archive_bucket(target), key).last
            ends[key] = int(end.sequence), end.sub
        return ends[key]

    found = [
        one for name, table in tables.items() if table for one in _snapshots(name, table, last_of)
    ]
    records = tables[RECORDS]
    return compare_lake(archived, frozenset(accepted), found, _files(records) if records else 0)


def _table(catalog: Catalog, identifier: tuple[str, str]) -> Table | None:
    return catalog.load_table(identifier) if catalog.table_exists(identifier) else None


def _snapshots(
    name: str, table: Table, last_of: Callable[[str], tuple[int, int]]
) -> Iterator[Snapshot]:
    newest = table.current_snapshot()
    for snapshot in table.snapshots():
        properties = snapshot.summary.additional_properties if snapshot.summary else {}
        last = {shard: last_of(key) for shard, key in reached_in(properties).last.items()}
        contents = snapshot == newest  # what rows say is compared once, where all of them are
        columns = (*_COLUMNS[name], "ts", *(["metrics"] if contents else []))
        scan = table.scan(snapshot_id=snapshot.snapshot_id, selected_fields=columns)
        rows, said = _rows(name, scan.to_arrow(), contents=contents)
        yield Snapshot(name, snapshot.snapshot_id, last, Counter(rows), said)


def _rows(
    name: str, found: Any, *, contents: bool
) -> tuple[list[Hashable], Mapping[Hashable, int]]:
    """The rows of a table, and what each says."""
    import pyarrow as pa

    times = found["ts"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_pylist()
    keys = zip(*(found[column].to_pylist() for column in _COLUMNS[name]), strict=True)
    rows: list[Hashable]
    if name == RECORDS:
        rows = [Place(*key) for key in keys]
    else:
        rows = [
            LakeReading(device, boot, seq, ts // DAY_MS)
            for (device, boot, seq), ts in zip(keys, times, strict=True)
        ]
    if not contents:
        return rows, {}
    metrics = found["metrics"].to_pylist()
    said = [content_of(ts, of_row) for ts, of_row in zip(times, metrics, strict=True)]
    return rows, dict(zip(rows, said, strict=True))


def _files(table: Table) -> int:
    snapshot = table.current_snapshot()
    summary = snapshot.summary if snapshot else None
    return int(summary["total-data-files"] or 0) if summary else 0
