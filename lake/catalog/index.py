"""The list of a snapshot's compacted files, for readers that do not load an Iceberg library.

The list is an object that never changes, written before the commit; the snapshot's summary names it
(:data:`INDEX`). So it is as new as the snapshot and moves with it. Iceberg's own manifests say the
same to everybody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from lake.catalog.config import FOLDER, READINGS, CatalogConfig
from lake.catalog.positions import Reached, reached_in

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

INDEX: Final = "penstock.index"
"""The property of a snapshot with the key of its list."""


class CompactedFile(msgspec.Struct, frozen=True):
    """A file of compacted readings: its key and size (bytes), its rows, their UTC day (since 1970),
    and the range of devices and times (ms) in it. Rows are in the order of device and time."""

    key: str
    size: int
    rows: int
    day: int
    first_device: str
    last_device: str
    first_ts: int
    last_ts: int


class Compacted(msgspec.Struct, frozen=True):
    """A snapshot of ``readings``: its files, and how far into the archive they reach."""

    files: Sequence[CompactedFile]
    reached: Reached


def encode(files: Sequence[CompactedFile]) -> bytes:
    """The list as JSON."""
    return msgspec.json.encode(files)


def decode(body: bytes) -> list[CompactedFile]:
    """The list in an object."""
    return msgspec.json.decode(body, type=list[CompactedFile])


def new_index_key(name: str) -> str:
    """The key of a list."""
    return f"{FOLDER}/{READINGS}/index/{name}.json"


def read_compacted(
    s3: S3Client, bucket: str, config: CatalogConfig, location: str
) -> Compacted | None:
    """The newest snapshot in a table's metadata file; ``None`` when it is not Penstock's, and the
    archive must be read instead."""
    metadata = orjson.loads(_read(s3, bucket, config.key(location)))
    summary = current_summary(metadata)
    if INDEX not in summary:
        return None
    return Compacted(decode(_read(s3, bucket, summary[INDEX])), reached_in(summary))


def current_summary(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The summary of a table's current snapshot; empty without one."""
    current = metadata.get("current-snapshot-id")
    for snapshot in metadata.get("snapshots", ()):
        if snapshot["snapshot-id"] == current:
            return dict(snapshot.get("summary", {}))
    return {}


def _read(s3: S3Client, bucket: str, key: str) -> bytes:
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
