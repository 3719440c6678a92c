"""Finds the rows of the archive that were not folded, and those that were redriven."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from consumers.disposition import OK
from lake.archive.segments import Segment
from lake.rejects.fix import REDRIVEN
from lake.rejects.reject import Id, Reject

_COLUMNS: Final = (
    "device_id", "ts", "boot", "seq", "received_at", "arrived_at", "shard_id", "sequence_number",
    "sub_sequence", "reading", "disposition", "raw",
)  # fmt: skip


class Segments(Protocol):
    """Where segments are listed and read, as :class:`lake.replay.source.S3Segments`."""

    def arrived(self, start_ms: int, end_ms: int | None) -> Iterable[Segment]:
        """The segments of the arrival hours that overlap this span."""

    def open(self, segment: Segment) -> Any:
        """A segment as a ``pyarrow.parquet.ParquetFile``."""


class Wanted(NamedTuple):
    """Which rows: arrived from ``start`` up to, and without, ``end`` (ms); with these dispositions
    and of these devices, or any if ``None``."""

    start: int
    end: int
    reasons: frozenset[str] | None = None
    devices: frozenset[str] | None = None

    def takes(self, reject: Reject) -> bool:
        """Whether the row is one of these. What was redriven is no reject of a device."""
        return (
            self.start <= reject.arrived_at < self.end
            and (self.reasons is None or reject.disposition in self.reasons)
            and (self.devices is None or reject.device_id in self.devices)
            and not (reject.boot or "").startswith(REDRIVEN)
        )


def find_rejects(segments: Segments, wanted: Wanted) -> Iterator[Reject]:
    """The rows in question, in the order of arrival hours and shards. Row groups in which every
    row was folded are not decoded."""
    for segment in segments.arrived(wanted.start, wanted.end):
        file = segments.open(segment)
        groups = [place for place in range(file.num_row_groups) if not _all_folded(file, place)]
        if not groups:
            continue
        rows = file.read_row_groups(groups, list(_COLUMNS), use_threads=False)
        rows = rows.filter(pc.not_equal(rows["disposition"], OK))
        yield from filter(wanted.takes, _rejects(rows))


def find_redriven(segments: Segments, since_ms: int) -> Mapping[Id, str]:
    """The readings that were redriven and arrived since then (ms), and the disposition of each:
    ``ok`` once it was folded."""
    found: dict[Id, str] = {}
    columns = ["device_id", "boot", "seq", "disposition"]
    for segment in segments.arrived(since_ms, None):
        file = segments.open(segment)
        groups = [place for place in range(file.num_row_groups) if _may_be_redriven(file, place)]
        if not groups:
            continue
        rows = file.read_row_groups(groups, columns, use_threads=False)
        rows = rows.filter(pc.starts_with(rows["boot"], REDRIVEN))
        for device, boot, seq, disposition in zip(
            *(rows[name].to_pylist() for name in columns), strict=True
        ):
            if found.get((device, boot, seq)) != OK:
                found[device, boot, seq] = disposition
    return found


def _rejects(rows: Any) -> Iterator[Reject]:
    for name in ("ts", "received_at", "arrived_at"):
        index = rows.schema.get_field_index(name)
        rows = rows.set_column(index, name, rows[name].cast(pa.int64()))
    raw, raw_of = b"", None
    for reject in map(Reject, *(rows[name].to_pylist() for name in _COLUMNS)):
        record = (reject.shard_id, reject.sequence_number, reject.sub_sequence)
        if record != raw_of:  # the first of a record's rows has its bytes
            raw, raw_of = reject.raw, record
        yield reject._replace(raw=raw)


def _all_folded(file: Any, group: int) -> bool:
    statistics = _statistics(file, group, "disposition")
    return statistics is not None and statistics.min == statistics.max == OK


def _may_be_redriven(file: Any, group: int) -> bool:
    statistics = _statistics(file, group, "boot")
    return statistics is None or statistics.max >= REDRIVEN


def _statistics(file: Any, group: int, name: str) -> Any:
    """A column's statistics of a row group, where it has them."""
    metadata = file.metadata.row_group(group)
    for place in range(metadata.num_columns):
        column = metadata.column(place)
        if column.path_in_schema == name:
            found = column.statistics
            return found if found is not None and found.has_min_max else None
    return None
