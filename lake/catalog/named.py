"""Which objects the snapshots of a table name: whatever else lies below it is read by nobody."""

from __future__ import annotations

from itertools import pairwise

from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from lake.catalog.config import CatalogConfig
from lake.catalog.index import INDEX


def named_keys(table: Table, config: CatalogConfig, *, files: bool) -> set[str]:
    """The keys of a table's metadata, and of all that its snapshots name: lists of manifests,
    manifests, lists of compacted files. ``files``: the files of rows too, for which each manifest
    is read.
    """
    metadata = table.metadata
    locations = {table.metadata_location}
    locations |= {one.metadata_file for one in metadata.metadata_log}
    locations |= {one.statistics_path for one in metadata.statistics}
    locations |= {one.statistics_path for one in metadata.partition_statistics}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in metadata.snapshots:
        locations.add(snapshot.manifest_list)
        manifests |= {one.manifest_path: one for one in snapshot.manifests(table.io)}
    locations |= manifests.keys()
    for manifest in manifests.values() if files else ():
        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        locations |= {one.data_file.file_path for one in entries}
    keys = {config.key(one) for one in locations if one.startswith(f"{config.root}/")}
    return keys | {index for one in metadata.snapshots if (index := _property(one, INDEX))}


def replaced_before(table: Table, time_ms: int) -> list[int]:
    """The ids of snapshots that were replaced by others before then (ms since 1970), but for those
    from which the newest one of Penstock is found, which has the positions."""
    kept = set()
    current = table.current_snapshot()
    while current is not None:
        kept.add(current.snapshot_id)
        if any(name.startswith("penstock.") for name in _properties(current)):
            break
        parent = current.parent_snapshot_id
        current = None if parent is None else table.snapshot_by_id(parent)
    kept |= {one.snapshot_id for one in table.metadata.refs.values()}
    ordered = sorted(table.metadata.snapshots, key=lambda one: one.timestamp_ms)
    return [
        one.snapshot_id
        for one, following in pairwise(ordered)
        if following.timestamp_ms < time_ms and one.snapshot_id not in kept
    ]


def _property(snapshot: Snapshot, name: str) -> str | None:
    return _properties(snapshot).get(name)


def _properties(snapshot: Snapshot) -> dict[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary else {}
