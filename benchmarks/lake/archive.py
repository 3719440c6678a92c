"""An archive of one day on the embedded AWS, as workers would have written it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.measure import MEASURED_ENVIRONMENT, Progress
from consumers.archive.parquet import SCHEMA, SegmentFile
from consumers.archive.segment_key import HOUR_MS, last_metadata, object_key
from consumers.kcl.position import position
from infra.emulator.process import Emulator
from infra.local.stack import local_settings
from infra.target import Target

DAY_MS: Final = 24 * HOUR_MS
START_MS: Final = int(time.time()) * 1000 // HOUR_MS * HOUR_MS - DAY_MS
"""The last 24 whole hours: what the stream can still have, and so what a query must list."""
DEVICES: Final = 1_000
SHARDS: Final = 4
GROUP: Final = 5_000
"""Rows that a worker encodes together."""


class Layout(NamedTuple):
    """How the day's readings lie in the archive: segments that follow one another, spread over the
    shards, and the rows of each."""

    segments: int
    rows: int

    @property
    def readings(self) -> int:
        """All of them."""
        return self.segments * self.rows

    @property
    def step_ms(self) -> int:
        """How long a shard fills a segment, ms."""
        return DAY_MS * SHARDS // self.segments


def by_age(readings: int) -> Layout:
    """A segment a minute and shard, as workers write at default settings."""
    segments = SHARDS * 24 * 60
    return Layout(segments, readings // segments)


def by_size(readings: int) -> Layout:
    """Segments of 50,000 readings, the largest at default settings."""
    return Layout(readings // 50_000, 50_000)


class Stand(NamedTuple):
    """An embedded AWS with an archive: how to reach it, and what is in it."""

    target: Target
    folder: Path
    environment: Mapping[str, str]
    layout: Layout
    bytes: int


@contextmanager
def stand(layout: Layout, progress: Progress) -> Iterator[Stand]:
    """An embedded AWS with the archive of one day, by 1,000 devices on four shards."""
    with TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        emulator = Emulator.start(folder / "emulator", persist=False)
        try:
            yield _filled(emulator, folder, layout, progress)
        finally:
            emulator.stop()


def _filled(emulator: Emulator, folder: Path, layout: Layout, progress: Progress) -> Stand:
    settings = local_settings(
        endpoint_url=emulator.endpoint_url, stack="bench", devices_dir=folder / "devices"
    )
    target = Target(settings, account="", local=True)
    target.account = target.client("sts").get_caller_identity()["Account"]
    bucket = settings.bucket(target.account)
    s3, kinesis = target.client("s3"), target.client("kinesis")
    s3.create_bucket(Bucket=bucket)
    kinesis.create_stream(StreamName=settings.stream, ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName=settings.stream)
    total = done = 0
    with ThreadPoolExecutor(2) as pool:
        for size in pool.map(lambda n: put_segment(s3, bucket, n, layout), range(layout.segments)):
            total, done = total + size, done + 1
            progress(f"{done} of {layout.segments} segments written")
    own = ("AWS_", "PENSTOCK_", "PYTHON")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(own)},
        "PENSTOCK_ENDPOINT_URL": emulator.endpoint_url,
        "PENSTOCK_STACK": "bench",
        "PENSTOCK_LAKE_CATALOG": "sqlite",
        "PENSTOCK_DEVICES_DIR": str(folder / "devices"),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        **MEASURED_ENVIRONMENT,
        # An installation has its byte code, whatever this environment says.
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }
    return Stand(target, folder, environment, layout, total)


def put_segment(s3: Any, bucket: str, number: int, layout: Layout) -> int:
    """Write a segment; its size."""
    shard = f"shardId-{number % SHARDS:012}"
    arrived = START_MS + number // SHARDS * layout.step_ms
    first = 49_600_000_000_000_000_000 + number * layout.rows
    file = SegmentFile(shard)
    for begin in range(0, layout.rows, GROUP):
        file._write(_rows(number, first, arrived, begin, layout))
    body = file.finish()
    body.seek(0)
    data = body.read()
    key = object_key(shard, position(str(first), 0), arrived // HOUR_MS)
    metadata = last_metadata(position(str(first + layout.rows - 1), 0), layout.rows, layout.rows)
    s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata=metadata)
    file.close()
    return len(data)


def _rows(number: int, first: int, arrived: int, begin: int, layout: Layout) -> Any:
    """A row group: the devices of this shard in turn, each message a reading."""
    count = min(GROUP, layout.rows - begin)
    rng = np.random.default_rng(number * 1000 + begin)
    index = np.arange(begin, begin + count)
    mine = DEVICES // SHARDS
    device = (number // SHARDS * layout.rows + index) % mine * SHARDS + number % SHARDS
    end = arrived - arrived % HOUR_MS + HOUR_MS
    within = np.minimum(arrived + index * layout.step_ms // layout.rows, end - 1)
    latency = rng.integers(20, 200, count)
    seq = (number // SHARDS * layout.rows + index) // mine
    temperature = np.round(20 + 5 * np.sin(seq / 300 + device) + rng.normal(0, 0.1, count), 1)
    humidity = np.round(50 + rng.normal(0, 2, count), 1)
    values = np.column_stack([temperature, humidity, (index % 50 == 0).astype(float)]).ravel()
    keys = pa.array(["temperature", "humidity", "door_open"] * count)
    maps = pa.MapArray.from_arrays(
        pa.array(np.arange(0, 3 * count + 1, 3), pa.int32()), keys, values
    )
    columns = {
        "device_id": pa.array([f"sensor-{one:05}" for one in device]),
        "ts": pa.array(within - latency),
        "boot": pa.array([f"b0{one:06x}" for one in device]),
        "seq": pa.array(seq),
        "metrics": maps,
        "received_at": pa.array(within - 5),
        "arrived_at": pa.array(within),
        "shard_id": pa.repeat(f"shardId-{number % SHARDS:012}", count),
        "sequence_number": pa.array([str(first + i) for i in index.tolist()]),
        "sub_sequence": pa.repeat(0, count),
        "reading": pa.repeat(0, count),
        "disposition": pa.repeat("ok", count),
        "raw": pa.nulls(count, pa.binary()),
    }
    return pa.record_batch(
        [columns[field.name].cast(field.type) for field in SCHEMA], schema=SCHEMA
    )
