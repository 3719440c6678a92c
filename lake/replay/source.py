"""The archive as a replay reads it: segments in the order of the stream, one read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa

from lake.archive.rows import parquet_file
from lake.archive.segments import Segment, list_segments
from lake.replay.rows import COLUMNS, ArchivedRecord, Selection, records_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AHEAD: Final = 3
"""Segments that are fetched while one is folded."""

EARLY_MS: Final = 3_600_000
"""How long before its event time a reading may have arrived at least, beside ``clock_ahead_s``."""


class Segments(Protocol):
    """Where segments are listed and read."""

    def arrived(self, start_ms: int, end_ms: int | None) -> Sequence[Segment]:
        """The segments of the arrival hours that overlap this span."""

    def open(self, segment: Segment) -> Any:
        """A segment as a ``pyarrow.parquet.ParquetFile``. Called in several threads."""


class S3Segments:
    """:class:`Segments` of a bucket; the client retries by itself. ``fetched`` counts requests."""

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self.fetched = 0

    def arrived(self, start_ms: int, end_ms: int | None) -> Sequence[Segment]:
        """See :class:`Segments`."""
        return list(list_segments(self._s3, self._bucket, start_ms=start_ms, end_ms=end_ms))

    def open(self, segment: Segment) -> Any:
        """See :class:`Segments`."""
        self.fetched += 1
        return parquet_file(self._s3, self._bucket, segment.key)


class ArchiveSource:
    """The accepted readings of the archive, by event time.

    A reading can arrive long after its event time, so every segment from shortly before the first
    event time on is looked at; ``arrived_until`` (ms) bounds that. What a segment holds is
    remembered, so that one which holds nothing of another span is not fetched again.
    """

    def __init__(
        self, segments: Segments, *, clock_ahead_s: int, arrived_until: int | None = None
    ) -> None:
        self._segments = segments
        self._early_ms = EARLY_MS + clock_ahead_s * 1000
        self._arrived_until = arrived_until
        self._spans: dict[str, tuple[int, int] | None] = {}

    def listed(self, selection: Selection) -> list[Segment]:
        """The segments that may hold readings of a selection, in the order of the stream: a
        device's records follow each other in it, through the splits of its shard too."""
        found = self._segments.arrived(
            max(0, selection.start - self._early_ms), self._arrived_until
        )
        return sorted(
            (segment for segment in found if self._may_hold(segment.key, selection)),
            key=lambda segment: segment.first,
        )

    def read(
        self, segments: Sequence[Segment], selection: Selection
    ) -> Iterator[list[ArchivedRecord]]:
        """The records of a selection in these segments: a list for each segment, in order."""
        for table in self.tables(segments, selection, COLUMNS):
            yield [] if table is None else records_of(table, selection)

    def tables(
        self, segments: Sequence[Segment], selection: Selection, columns: Sequence[str]
    ) -> Iterator[Any]:
        """Columns of the parts of these segments that may hold readings of a selection: an Arrow
        table for each segment, in order; ``None`` for one that holds none."""
        waiting: deque[tuple[Segment, Future[Any]]] = deque()
        with ThreadPoolExecutor(AHEAD) as pool:
            try:
                for segment in segments:
                    waiting.append((segment, pool.submit(self._segments.open, segment)))
                    if len(waiting) > AHEAD:
                        yield self._table(*waiting.popleft(), selection, columns)
                while waiting:
                    yield self._table(*waiting.popleft(), selection, columns)
            finally:
                for _, future in waiting:
                    future.cancel()

    def _table(
        self, segment: Segment, opened: Future[Any], selection: Selection, columns: Sequence[str]
    ) -> Any:
        file = opened.result()
        spans = [group_span(file, group) for group in range(file.num_row_groups)]
        known = [span for span in spans if span is not None]
        self._spans[segment.key] = (
            (min(first for first, _ in known), max(last for _, last in known)) if known else None
        )
        groups = [place for place, span in enumerate(spans) if _overlap(span, selection)]
        if not groups:
            return None
        return file.read_row_groups(groups, list(columns), use_threads=False)

    def _may_hold(self, key: str, selection: Selection) -> bool:
        return key not in self._spans or _overlap(self._spans[key], selection)


def group_span(file: Any, group: int) -> tuple[int, int] | None:
    """The least and the greatest event time (ms) of a row group; ``None`` when it has none."""
    metadata = file.metadata.row_group(group)
    place = file.schema_arrow.get_field_index("ts")  # no column before it is nested
    statistics = metadata.column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return _milliseconds(statistics.min), _milliseconds(statistics.max)


def _milliseconds(moment: Any) -> int:
    value: int = pa.scalar(moment, pa.timestamp("ms", tz="UTC")).value
    return value


def _overlap(span: tuple[int, int] | None, selection: Selection) -> bool:
    return span is not None and span[0] < selection.end and span[1] >= selection.start
