"""An archive in memory: segments as a worker writes them, and the calls of S3 that read them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from consumers.archive.parquet import SegmentFile
from consumers.archive.segment_key import HOUR_MS, last_metadata, object_key
from consumers.disposition import Disposition
from consumers.record import ShardRecord
from ingest.message import Message, decode_raw
from tests.harness.shard import NOW, payload

BUCKET = "archive"
SHARD = "shardId-000000000000"


class MemoryBucket:
    """The calls of an S3 client that the lake makes, on one bucket in memory."""

    def __init__(self, page: int = 1000) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.listed: list[str] = []
        self.after_page: Callable[[list[str]], None] | None = None
        self._page = page

    def put_object(
        self, *, Key: str, Body: bytes, Metadata: dict[str, str] | None = None, **_: Any
    ) -> None:
        self.objects[Key] = (Body, dict(Metadata or {}))

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        assert Bucket == BUCKET
        return {"Body": io.BytesIO(self.objects[Key][0])}

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
            page = keys[: self._page]
            self.listed += page
            yield {"Contents": [{"Key": k, "Size": len(self.objects[k][0])} for k in page]}
            if self.after_page is not None:
                self.after_page(page)
            StartAfter = page[-1]


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
