"""The fold against what a competent user would write from the official sample.

One line of the KCL protocol with 500 records in, windows out: ours, the stock ``amazon_kclpy``
parse with a pydantic model a record, and the bare decoding without validation or fold.
Figures are medians; only their ratios travel to another machine.
"""

from __future__ import annotations

import base64
import json
import statistics
import time
from collections.abc import Callable

import msgspec
from amazon_kclpy import dispatch
from pydantic import BaseModel, Field

from consumers.hot import HotStore
from consumers.judge import OK, Judge
from consumers.protocol import parse
from consumers.windows import FoldedReading
from ingest.message import Message, decode
from ingest.record import Envelope, decode_record, encode_record
from ingest.tiers import Tier

RUNS = 7
RECORDS = 500
NOW = 1_795_420_800_000
TIERS = (Tier("1m", 1.0, 86400), Tier("1h", 30.0, 864000))


def line(readings: int, start: int) -> bytes:
    """A ``processRecords`` line: a message of each of 500 devices."""
    records = []
    for device in range(RECORDS):
        payload = msgspec.json.encode(
            {
                "v": 1,
                "boot": "9f2c61d0c1a44a2e",
                "seq": start,
                "readings": [
                    {
                        "ts": NOW + start + i,
                        "metrics": {"temperature": 21.5 + i, "humidity": 44.1, "door_open": False},
                    }
                    for i in range(readings)
                ],
            }
        )
        data = encode_record(payload, f"dev-{device:04d}", NOW + start)
        records.append(
            {
                "data": base64.b64encode(data).decode(),
                "partitionKey": f"dev-{device:04d}",
                "sequenceNumber": str(10**20 + start * RECORDS + device),
                "subSequenceNumber": 0,
                "approximateArrivalTimestamp": NOW + start,
                "action": "record",
            }
        )
    action = {"action": "processRecords", "records": records, "millisBehindLatest": 0}
    return msgspec.json.encode(action)


def ours(lines: list[bytes]) -> None:
    """Parse, validate, judge and fold, as a child does."""
    judge = Judge(TIERS, 600)
    hot = HotStore(
        None,  # type: ignore[arg-type]  # nothing is flushed here
        windows_table="w",
        devices_table="d",
        tiers=TIERS,
        latest_flush_s=1.0,
        judge=judge,
        now_ms=lambda: NOW,
        durable=lambda _: None,
    )
    for one in lines:
        for record in parse(one).records:
            envelope = decode_record(record.data)
            assert isinstance(envelope, Envelope)
            message = decode(envelope.payload)
            assert isinstance(message, Message)
            accepted = []
            for i, reading in enumerate(message.readings):
                folded = FoldedReading(message.boot, message.seq + i, reading.ts, reading.metrics)
                age = envelope.received_at - reading.ts
                verdict = judge.disposition(reading, envelope.received_at)
                if verdict == OK and hot.has_room(envelope.device_id, folded, age):
                    accepted.append((folded, age))
            hot.fold(envelope.device_id, accepted, envelope.received_at)


class StockReading(BaseModel):
    """A reading, as the sample's user would model it."""

    ts: int
    metrics: dict[str, float] = Field(min_length=1, max_length=64)


class StockMessage(BaseModel):
    """A message, likewise."""

    v: int
    boot: str = Field(pattern="^[0-9a-zA-Z-]{8,36}$")
    seq: int = Field(ge=0)
    readings: list[StockReading] = Field(min_length=1, max_length=1000)


def stock(lines: list[bytes]) -> None:
    """The official library's parse, a model a record, the same windows in a dict."""
    windows: dict[tuple[str, str, int], dict[str, list[float]]] = {}
    for one in lines:
        action = json.loads(one, object_hook=dispatch.message_decode)
        for record in action.records:
            envelope = json.loads(record.binary_data)
            payload = base64.b64decode(envelope["payload"])
            message = StockMessage.model_validate_json(payload)
            for reading in message.readings:
                for tier in TIERS:
                    start = reading.ts - reading.ts % tier.size_ms
                    window = windows.setdefault((envelope["device_id"], tier.name, start), {})
                    for name, value in reading.metrics.items():
                        kept = window.get(name)
                        if kept is None:
                            window[name] = [1, value, value, value]
                        else:
                            kept[0] += 1
                            kept[1] += value
                            kept[2] = min(kept[2], value)
                            kept[3] = max(kept[3], value)


def bare(lines: list[bytes]) -> None:
    """The limit: decode line, envelope and payload, and nothing else."""
    for one in lines:
        for record in parse(one).records:
            envelope = decode_record(record.data)
            assert isinstance(envelope, Envelope)
            msgspec.json.decode(envelope.payload)


def seconds(work: Callable[[list[bytes]], None], lines: list[bytes]) -> tuple[float, float]:
    """Median and spread (greatest less least) of CPU seconds over the runs."""
    times = []
    for _ in range(RUNS):
        started = time.process_time()
        work(lines)
        times.append(time.process_time() - started)
    return statistics.median(times), max(times) - min(times)


def main() -> None:
    """Measure and print the table."""
    print("readings a message | who   | readings/s a core | spread | time against stock")
    for readings in (1, 20):
        lines = [line(readings, start * readings) for start in range(10)]
        total = RECORDS * 10 * readings
        baseline, _ = seconds(stock, lines)
        for name, work in (("stock", stock), ("ours", ours), ("bare", bare)):
            median, spread = seconds(work, lines)
            print(
                f"{readings:18} | {name:5} | {total / median:17,.0f} | {spread / median:5.0%}  |"
                f" {median / baseline:.2f}"
            )


if __name__ == "__main__":
    main()
