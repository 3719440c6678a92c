"""Read back what arrived: the hot tables and the archive. All of the verifier's I/O."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ingest.schemas.item import history_of, read_request
from ingest.schemas.schema import History
from ingest.settings import Settings
from ingest.tables.hot import roster_scans

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

_PARALLEL: Final = 8
_PREFIX: Final = "telemetry/"


class Clients(NamedTuple):
    """The two services that hold the results."""

    dynamodb: DynamoDBClient
    s3: S3Client


class ArchiveRow(NamedTuple):
    """A row of the archive; times in ms, ``None`` where no reading could be read."""

    device_id: str | None
    ts: int | None
    boot: str | None
    seq: int | None
    metrics: Mapping[str, float] | None
    received_at: int | None
    shard_id: str
    sequence_number: str
    sub_sequence: int
    reading: int | None
    disposition: str
    raw: bytes | None
    arrived_at: int | None = None


@dataclass
class Observed:
    """Everything there is: windows by (device, window), devices by name, archive rows, and the
    schemas that were in force."""

    windows: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    devices: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    rows: list[ArchiveRow] = field(default_factory=list)
    objects: int = 0
    schemas: History = field(default_factory=History)


def observe(
    clients: Clients, settings: Settings, account: str, devices: Iterable[str] | None
) -> Observed:
    """Read the results of ``devices``, or of the whole stack when that is ``None``.

    The archive is read whole in either case: a row in the wrong place must be seen too.
    """
    observed = Observed()
    if devices is None:
        windows: Iterable[Any] = _scan(clients.dynamodb, settings.windows_table)
        roster: Iterable[Any] = _scan(clients.dynamodb, settings.devices_table)
    else:
        wanted = set(devices)
        windows = _windows_of(clients.dynamodb, settings.windows_table, wanted)
        roster = (
            item
            for item in _roster(clients.dynamodb, settings.devices_table)
            if item["device"]["S"] in wanted
        )
    for item in windows:
        observed.windows[item["device"]["S"], item["window"]["S"]] = item
    for item in roster:
        observed.devices[item["device"]["S"]] = item
    item = clients.dynamodb.get_item(**read_request(settings.status_table)).get("Item", {})
    observed.schemas = history_of(item)
    observed.rows, observed.objects = archive_rows(clients.s3, settings.bucket(account))
    return observed


def archive_rows(s3: S3Client, bucket: str) -> tuple[list[ArchiveRow], int]:
    """Every row of the archive, and in how many objects they are."""
    keys = list(archive_keys(s3, bucket))
    found = []
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for rows in pool.map(lambda key: _rows(s3, bucket, key), keys):
            found += rows
    return found, len(keys)


def archive_keys(s3: S3Client, bucket: str) -> Iterator[str]:
    """The archive's objects."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=_PREFIX):
        for item in page.get("Contents", []):
            yield item["Key"]


class ArchivedCounter:
    """Counts the records that are in the archive, reading each object's metadata once."""

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._records: dict[str, int] = {}

    def count(self) -> int:
        """Records archived by now."""
        for key in archive_keys(self._s3, self._bucket):
            if key not in self._records:
                head = self._s3.head_object(Bucket=self._bucket, Key=key)
                self._records[key] = int(head["Metadata"]["records"])
        return sum(self._records.values())


def _scan(dynamodb: DynamoDBClient, table: str) -> Iterator[Any]:
    for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from page["Items"]


def _windows_of(dynamodb: DynamoDBClient, table: str, devices: Iterable[str]) -> Iterator[Any]:
    def query(device: str) -> list[Any]:
        pages = dynamodb.get_paginator("query").paginate(
            TableName=table,
            KeyConditionExpression="device = :d",
            ExpressionAttributeValues={":d": {"S": device}},
            ConsistentRead=True,
        )
        return [item for page in pages for item in page["Items"]]

    with ThreadPoolExecutor(_PARALLEL) as pool:
        for items in pool.map(query, sorted(devices)):
            yield from items


def _roster(dynamodb: DynamoDBClient, table: str) -> Iterator[Any]:
    for scan in roster_scans(table):
        for page in dynamodb.get_paginator("scan").paginate(**scan, ConsistentRead=True):
            yield from page["Items"]


def _rows(s3: S3Client, bucket: str, key: str) -> list[ArchiveRow]:
    return rows_of(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def rows_of(body: bytes) -> list[ArchiveRow]:
    """The rows of one archive object."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(body), pre_buffer=False)
    table = file.read(columns=list(ArchiveRow._fields), use_threads=False)
    for name in ("ts", "received_at", "arrived_at"):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, table.column(name).cast(pa.int64()))
    columns = [table.column(name).to_pylist() for name in ArchiveRow._fields]
    return [
        ArchiveRow(*values)._replace(metrics=None if values[4] is None else dict(values[4]))
        for values in zip(*columns, strict=True)
    ]
