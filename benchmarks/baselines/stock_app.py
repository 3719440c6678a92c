"""A KCL application as one writes it from the official sample, with the same writes as ours: a
pydantic model a record, windows in a dict, a conditional ``PutItem`` for each, and a Parquet object
before each checkpoint. Started by the KCL daemon, one process a shard.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor
from botocore.exceptions import ClientError
from pydantic import BaseModel, Field

SIZES = {"1m": 60_000, "1h": 3_600_000}
FLUSH_S = 1.0
CHECKPOINT_S = 2.0


class Reading(BaseModel):
    """A reading."""

    ts: int
    metrics: dict[str, float] = Field(min_length=1, max_length=64)


class Message(BaseModel):
    """A message."""

    v: int
    boot: str = Field(pattern="^[0-9a-zA-Z-]{8,36}$")
    seq: int = Field(ge=0)
    readings: list[Reading] = Field(min_length=1, max_length=1000)


class Processor(processor.RecordProcessorBase):  # type: ignore[misc]
    """The sample's shape: fold, flush now and then, checkpoint now and then."""

    def initialize(self, initialize_input: Any) -> None:
        self.shard = initialize_input.shard_id
        config = json.loads(os.environ["STOCK_APP"])
        self.table = boto3.resource("dynamodb", endpoint_url=config["endpoint"]).Table(
            config["table"]
        )
        self.s3 = boto3.client("s3", endpoint_url=config["endpoint"])
        self.bucket, self.run = config["bucket"], config["run"]
        self.windows: dict[tuple[str, str], dict[str, Any]] = {}
        self.dirty: set[tuple[str, str]] = set()
        self.rows: list[tuple[Any, ...]] = []
        self.flushed = self.checkpointed = time.monotonic()
        self.last = ("", 0)

    def process_records(self, process_records_input: Any) -> None:
        for record in process_records_input.records:
            envelope = json.loads(record.binary_data)
            device = envelope["device_id"]
            message = Message.model_validate_json(base64.b64decode(envelope["payload"]))
            for index, reading in enumerate(message.readings):
                self._fold(device, reading)
                self.rows.append(
                    (device, reading.ts, message.boot, message.seq + index,
                     list(reading.metrics.items()), record.sequence_number)
                )  # fmt: skip
            self.last = (record.sequence_number, record.sub_sequence_number)
        now = time.monotonic()
        if now - self.flushed >= FLUSH_S:
            self._flush()
        if self.rows and now - self.checkpointed >= CHECKPOINT_S:
            self._commit(process_records_input.checkpointer)

    def _fold(self, device: str, reading: Reading) -> None:
        for tier, size in SIZES.items():
            key = (device, f"{self.run}{tier}#{reading.ts - reading.ts % size}")
            window = self.windows.setdefault(key, {"n": 0, "metrics": {}, "ver": 0})
            window["n"] += 1
            for name, value in reading.metrics.items():
                kept = window["metrics"].setdefault(name, [0, 0.0, value, value])
                kept[0] += 1
                kept[1] += value
                kept[2] = min(kept[2], value)
                kept[3] = max(kept[3], value)
            self.dirty.add(key)

    def _flush(self) -> None:
        for key in self.dirty:
            window = self.windows[key]
            try:
                self.table.put_item(
                    Item={"device": key[0], "window": key[1], "ver": window["ver"] + 1,
                          "n": window["n"], "metrics": _metrics(window["metrics"])},
                    ConditionExpression="attribute_not_exists(ver) OR ver = :v",
                    ExpressionAttributeValues={":v": window["ver"]},
                )  # fmt: skip
                window["ver"] += 1
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
        self.dirty.clear()
        self.flushed = time.monotonic()

    def _commit(self, checkpointer: Any) -> None:
        self._flush()
        columns = list(zip(*self.rows, strict=True))
        types = [pa.string(), pa.int64(), pa.string(), pa.int64(),
                 pa.map_(pa.string(), pa.float64()), pa.string()]  # fmt: skip
        names = ["device_id", "ts", "boot", "seq", "metrics", "sequence_number"]
        arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
        sink = io.BytesIO()
        pq.write_table(pa.table(arrays, names=names), sink, compression="zstd")
        key = f"{self.run}stock/{self.shard}-{self.last[0]}.parquet"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=sink.getvalue())
        checkpointer.checkpoint(*self.last)
        self.rows = []
        self.checkpointed = time.monotonic()

    def lease_lost(self, lease_lost_input: Any) -> None:
        """Nothing."""

    def shard_ended(self, shard_ended_input: Any) -> None:
        shard_ended_input.checkpointer.checkpoint()

    def shutdown_requested(self, shutdown_requested_input: Any) -> None:
        """Nothing."""


def _metrics(metrics: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    return {
        name: {"n": m[0], "sum": str(m[1]), "min": str(m[2]), "max": str(m[3])}
        for name, m in metrics.items()
    }


if __name__ == "__main__":
    kcl.KCLProcess(Processor()).run()
