"""Lists the archive's segments: by arrival time and shard, which their keys hold.

A segment never changes and is never half there, so a listing names complete objects only. But it is
no snapshot: workers commit segments while its pages are read. A segment can fall into a page that
was read already, and its successor into one that was not: the listing would then have a gap. So it
is read twice, and the second listing is cut, for each shard, at the last segment of the first.
Whatever comes before that segment was committed before it, and so before the second listing began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from consumers.archive.segment_key import HOUR_MS, PREFIX, last_of, parts_of
from consumers.kcl.position import Position

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BEFORE_ALL: Final = f"{PREFIX}/"


class Segment(NamedTuple):
    """A committed segment: its object's key and size (bytes), its shard, the position of its first
    record, and its arrival hour since 1970."""

    key: str
    size: int
    shard: str
    first: Position
    hour: int

    @property
    def start_ms(self) -> int:
        """The beginning of the hour in which its records arrived, ms since 1970."""
        return self.hour * HOUR_MS

    @property
    def end_ms(self) -> int:
        """The end of that hour, exclusive."""
        return self.start_ms + HOUR_MS


class Extent(NamedTuple):
    """What a segment's metadata says: its last record, its records, its rows."""

    last: Position
    records: int
    rows: int


def list_segments(
    s3: S3Client,
    bucket: str,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    shard: str | None = None,
) -> list[Segment]:
    """The segments with an hour that overlaps ``[start_ms, end_ms)``, in the order of their keys:
    by hour, then by shard. Times are arrival times in the stream, ms since 1970. Of each shard,
    none is missing before the last that is listed. Objects that are no segments are passed over.
    Costs two requests for 1,000 keys.

    >>> for segment in list_segments(s3, bucket, start_ms=now - 3_600_000):  # doctest: +SKIP
    ...     print(segment.key, segment.size)
    """
    ends = last_positions(_listed(s3, bucket, start_ms, end_ms, shard))
    again = _listed(s3, bucket, start_ms, end_ms, shard)
    return [one for one in again if one.shard in ends and one.first <= ends[one.shard]]


def last_positions(segments: Iterable[Segment]) -> dict[str, Position]:
    """Of each shard, the first position of its last segment."""
    ends: dict[str, Position] = {}
    for one in segments:
        ends[one.shard] = max(one.first, ends.get(one.shard, one.first))
    return ends


def _listed(
    s3: S3Client, bucket: str, start_ms: int | None, end_ms: int | None, shard: str | None
) -> Iterator[Segment]:
    """One listing, as its pages were when they were read."""
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=_BEFORE_ALL, StartAfter=_hour_prefix(start_ms)
    )
    for page in pages:
        for item in page.get("Contents", []):
            segment = segment_of(item["Key"], item["Size"])
            if segment is None:
                continue
            if end_ms is not None and segment.start_ms >= end_ms:
                return
            if shard is None or segment.shard == shard:
                yield segment


def segment_of(key: str, size: int) -> Segment | None:
    """The segment that an object is, or ``None`` when its key is not a segment's."""
    parts = parts_of(key)
    return parts and Segment(key, size, *parts)


def extent_of(s3: S3Client, bucket: str, key: str) -> Extent:
    """The extent of a committed segment: one request."""
    return extent_in(s3.head_object(Bucket=bucket, Key=key)["Metadata"])


def extent_in(metadata: Mapping[str, str]) -> Extent:
    """The extent in the metadata that the worker gave the object."""
    return Extent(last_of(metadata), int(metadata["records"]), int(metadata["rows"]))


def _hour_prefix(start_ms: int | None) -> str:
    """A key that sorts directly before those of the hour that holds ``start_ms``."""
    if start_ms is None:
        return _BEFORE_ALL
    moment = datetime.fromtimestamp(start_ms // 1000, UTC)
    return f"{PREFIX}/dt={moment:%Y-%m-%d}/hour={moment:%H}/"
