"""Reads segments as Arrow tables with the archive's columns."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from consumers.archive.parquet import SCHEMA
from lake.archive.objects import read_object

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROW_SCHEMA: Final = SCHEMA
"""One row a reading, or one row for a record without readings:

``device_id``, ``ts``, ``boot``, ``seq``, ``metrics``: the reading, null where none could be read;
``received_at`` (by the rule), ``arrived_at`` (in the stream); ``shard_id``, ``sequence_number``,
``sub_sequence``: the record; ``reading``: its place in the message; ``disposition``, and ``raw``
(the payload) where that is not ``ok``. Times are UTC with ms.
"""


def read_segment(s3: S3Client, bucket: str, key: str, columns: Sequence[str] | None = None) -> Any:
    """The rows of one segment as a ``pyarrow.Table``, in the order of the stream."""
    return parquet_file(s3, bucket, key).read(columns=_names(columns), use_threads=False)


def segment_batches(
    s3: S3Client, bucket: str, key: str, columns: Sequence[str] | None = None, rows: int = 10_000
) -> Iterator[Any]:
    """The rows of one segment as ``pyarrow.RecordBatch`` of at most ``rows`` rows, in the order of
    the stream. Holds the object (about 11 bytes a row) and one batch in memory."""
    file = parquet_file(s3, bucket, key)
    yield from file.iter_batches(batch_size=rows, columns=_names(columns), use_threads=False)


def parquet_file(s3: S3Client, bucket: str, key: str) -> Any:
    """A segment as a ``pyarrow.parquet.ParquetFile``, its whole object in memory: segments are
    small (16 MiB of payload at most), and one request is cheaper than several ranges.

    :raises InGlacierError: when S3 must restore it first.
    """
    body = read_object(s3, bucket, key)
    return pq.ParquetFile(io.BytesIO(body), pre_buffer=False)


def _names(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
