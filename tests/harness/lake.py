"""An archive in memory: segments as a worker writes them, and the calls of S3 that read them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from consumers.archive.parquet import SegmentFile
from consumers.archive.segment_key import HOUR_MS, last_metadata, object_key
from consumers.disposition import Disposition
from consumers.record import ShardRecord
from ingest.message import Message, decode_raw
from lake.catalog.config import CatalogConfig
from tests.harness.shard import NOW, payload

BUCKET = "archive"
SHARD = "shardId-000000000000"


class MemoryBucket:
    """The calls of an S3 client that the lake makes, on one bucket in memory."""

    def __init__(self, page: int = 1000) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.listed: list[str] = []
        self.after_page: Callable[[list[str]], None] | None = None
        self.page = page

    def put_object(
        self, *, Key: str, Body: Any, Metadata: dict[str, str] | None = None,
        IfNoneMatch: str | None = None, IfMatch: str | None = None, **_: Any,
    ) -> dict[str, Any]:  # fmt: skip
        if (IfNoneMatch and Key in self.objects) or (IfMatch and IfMatch != self.etag(Key)):
            raise _failed("PutObject", 412)
        body = Body if isinstance(Body, bytes) else Body.read()
        self.objects[Key] = (body, dict(Metadata or {}))
        return {"ETag": self.etag(Key)}

    def etag(self, key: str) -> str | None:
        return hashlib.md5(self.objects[key][0]).hexdigest() if key in self.objects else None

    def get_object(self, *, Bucket: str, Key: str, Range: str | None = None) -> dict[str, Any]:
        assert Bucket == BUCKET
        if Key not in self.objects:
            raise _failed("GetObject", 404)
        body = self.objects[Key][0]
        if Range is not None:
            start, end = map(int, Range.removeprefix("bytes=").split("-"))
            body = body[start : end + 1]
        return {"Body": io.BytesIO(body), "ETag": self.etag(Key)}

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        assert Bucket == BUCKET
        return {"Metadata": self.objects[Key][1]}

    def get_paginator(self, name: str) -> MemoryBucket:
        assert name == "list_objects_v2"
        return self

    def paginate(
        self, *, Bucket: str, Prefix: str, StartAfter: str = ""
    ) -> Iterator[dict[str, Any]]:
        assert Bucket == BUCKET
        while keys := sorted(k for k in self.objects if k.startswith(Prefix) and k > StartAfter):
            page = keys[: self.page]
            self.listed += page
            yield {"Contents": [{"Key": k, "Size": len(self.objects[k][0])} for k in page]}
            if self.after_page is not None:
                self.after_page(page)
            StartAfter = page[-1]


class FolderBucket(MemoryBucket):
    """A bucket whose objects are files of a folder, where PyIceberg finds them too."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.objects = _Folder(folder)
        self.last_number = 90
        self.config = CatalogConfig("sqlite", "test_lake", f"file://{folder}",
                                    str(folder.parent / "catalog.sqlite"))  # fmt: skip


class _Folder(dict[str, tuple[bytes, dict[str, str]]]):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __setitem__(self, key: str, value: tuple[bytes, dict[str, str]]) -> None:
        super().__setitem__(key, value)
        file = self._folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(value[0])

    def __getitem__(self, key: str) -> tuple[bytes, dict[str, str]]:
        if super().__contains__(key):
            return super().__getitem__(key)
        return (self._folder / key).read_bytes(), {}

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (self._folder / str(key)).is_file()


def _failed(operation: str, status: int) -> ClientError:
    answer: Any = {"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


def record(
    number: int,
    device: str | None,
    data: bytes,
    *,
    arrived_at: int = NOW,
    disposition: Disposition = "ok",
) -> ShardRecord:
    """A record that was folded; its sequence number is ``number``."""
    message = decode_raw(data)
    readings = len(message.readings) if isinstance(message, Message) else 0
    return ShardRecord(
        device, arrived_at, arrived_at, str(number), 0, data, disposition, None, readings
    )


def message(
    number: int,
    device: str = "dev-0",
    seq: int = 0,
    count: int = 1,
    *,
    ts: int = NOW,
    arrived_at: int = NOW,
    boot: str = "boot-one",
    disposition: Disposition = "ok",
) -> ShardRecord:
    """A record with ``count`` readings, a second apart."""
    readings = [(ts + i * 1000, {"a": float(seq + i)}) for i in range(count)]
    data = payload(boot, seq, readings)
    return record(number, device, data, arrived_at=arrived_at, disposition=disposition)


def commit(
    bucket: MemoryBucket, records: Sequence[ShardRecord], shard: str = SHARD, groups: int = 1
) -> str:
    """Write a segment of consecutive records as a worker does; its key."""
    file = SegmentFile(shard)
    size = -(-len(records) // groups)
    for begin in range(0, len(records), size):
        file.add(records[begin : begin + size])
    body = file.finish()
    body.seek(0)
    key = object_key(shard, records[0].position, records[0].arrived_at // HOUR_MS)
    metadata = last_metadata(records[-1].position, len(records), file.rows)
    bucket.put_object(Key=key, Body=body.read(), Metadata=metadata)
    file.close()
    return key
