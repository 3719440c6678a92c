"""The archive's file format: one Parquet file a segment."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from consumers.segment import Row

_TIME: Final = pa.timestamp("ms", tz="UTC")

SCHEMA: Final = pa.schema(
    [
        ("device_id", pa.string()),
        ("ts", _TIME),
        ("boot", pa.string()),
        ("seq", pa.int64()),
        ("metrics", pa.map_(pa.string(), pa.float64())),
        ("received_at", _TIME),
        ("arrived_at", _TIME),
        ("shard_id", pa.string()),
        ("sequence_number", pa.string()),
        ("sub_sequence", pa.int64()),
        ("reading", pa.int32()),
        ("disposition", pa.string()),
        ("raw", pa.binary()),
    ]
)

ROW_GROUP: Final = 20_000
"""Rows a group: small enough that a reader looking for one device or minute skips most."""

_DICTIONARY: Final = [
    "device_id",
    "boot",
    "metrics.key_value.key",
    "shard_id",
    "disposition",
    "sequence_number",
]


def write(rows: Sequence[Row], shard: str) -> bytes:
    """The rows as a Parquet file: zstd, dictionaries where values repeat."""
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, SCHEMA, compression="zstd", compression_level=3, use_dictionary=_DICTIONARY
    ) as writer:
        for start in range(0, len(rows), ROW_GROUP):
            writer.write_batch(_batch(rows[start : start + ROW_GROUP], shard))
    return sink.getvalue()


def _batch(rows: Sequence[Row], shard: str) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    columns[4] = tuple(None if m is None else list(m.items()) for m in columns[4])
    columns.insert(7, (shard,) * len(rows))
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)
