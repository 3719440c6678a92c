"""Reads Parquet files with their texts as dictionaries, as :mod:`lake.compaction.order` wants
them: a text is in memory once, and a row has its number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.archive.distinct import IDENTITY, READING_COLUMNS
from lake.archive.rows import ROW_SCHEMA

_TEXTS: Final = ("device_id", "boot")
_NAMES: Final = "metrics.key_value.key"
_CODES: Final = pa.dictionary(pa.int32(), pa.string())
METRICS: Final = pa.map_(_CODES, pa.float64())
_TYPES: Final[dict[str, Any]] = {
    **{field.name: field.type for field in ROW_SCHEMA},
    **dict.fromkeys((*_TEXTS, "disposition"), _CODES),
    "metrics": METRICS,
}


class Identities(NamedTuple):
    """What the statistics of a row group say of its identities: ranges of devices and numbers."""

    first_device: str
    last_device: str
    first_seq: int
    last_seq: int


class CodedFile:
    """A Parquet file of readings.

    :param source: a path, or a file that is open for reading.
    :param beside: columns with few texts, beside those of every reading.
    """

    def __init__(self, source: Any, beside: Sequence[str] = ()) -> None:
        self._source = source
        coded = [*_TEXTS, *beside, _NAMES]
        self._file = pq.ParquetFile(source, read_dictionary=coded, pre_buffer=False)
        self._metadata = self._file.metadata

    @property
    def groups(self) -> int:
        """How many row groups it has."""
        return int(self._metadata.num_row_groups)

    def read(self, group: int, columns: Sequence[str]) -> Any:
        """A row group."""
        try:
            rows = self._file.read_row_group(group, columns=list(columns), use_threads=False)
        except pa.ArrowNotImplementedError:  # more names of metrics than one dictionary holds
            plain = pq.ParquetFile(self._source, pre_buffer=False)
            rows = plain.read_row_group(group, columns=list(columns), use_threads=False)
        return _typed(rows, columns)

    def batches(self, rows: int) -> Iterator[Any]:
        """All rows, in tables of at most so many: of a row group, only these are decoded."""
        for group in range(self.groups):
            done = 0
            try:
                for batch in self._batches(group, rows):
                    done += batch.num_rows
                    yield batch
            except pa.ArrowNotImplementedError:  # a later page has no dictionary
                yield self.read(group, READING_COLUMNS).slice(done)

    def _batches(self, group: int, rows: int) -> Iterator[Any]:
        for batch in self._file.iter_batches(
            rows, row_groups=[group], columns=list(READING_COLUMNS), use_threads=False
        ):
            yield _typed(pa.Table.from_batches([batch]), READING_COLUMNS)

    def identities(self, group: int) -> Identities | None:
        """What is known of a row group without reading it."""
        row_group = self._metadata.row_group(group)
        found = {}
        for number in range(row_group.num_columns):
            column = row_group.column(number)
            if column.path_in_schema in IDENTITY and column.is_stats_set:
                found[column.path_in_schema] = column.statistics
        if not all(name in found and found[name].has_min_max for name in ("device_id", "seq")):
            return None
        devices, seqs = found["device_id"], found["seq"]
        return Identities(devices.min, devices.max, seqs.min, seqs.max)


def _typed(rows: Any, columns: Sequence[str]) -> Any:
    """With the same types whatever the file's own schema says."""
    return pa.table([_as(rows[name], _TYPES[name]) for name in columns], names=list(columns))


def _as(column: Any, kind: Any) -> Any:
    return column if column.type == kind else pc.cast(column, kind)
