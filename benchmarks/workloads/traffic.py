"""The load of the measures: lines of the KCL protocol with telemetry in them."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator, Sequence

import msgspec

from ingest.record import encode_record

NOW = 1_795_420_800_000  # 2026-11-23T08:00:00Z, the start of a minute and of an hour
RECORDS_A_LINE = 500
BOOT = "9f2c61d0c1a44a2e"


def lines(devices: int, messages: int, readings: int, *, metrics: int = 3) -> Iterator[bytes]:
    """``processRecords`` lines, 500 records each: every device in turn, ``messages`` times, with
    so many ``readings`` of so many metrics in each message. A second of event time passes every
    1,000 records, the most that a shard takes."""
    chance = random.Random(8)
    records = []
    for message in range(messages):
        for device in range(devices):
            number = message * devices + device
            times = [NOW + number + i * devices // readings for i in range(readings)]
            name = f"dev-{device:06d}"
            records.append(record(name, message * readings, times, number, chance, metrics))
            if len(records) == RECORDS_A_LINE:
                yield line(records)
                records = []
    if records:
        yield line(records)


def record(
    device: str,
    seq: int,
    times: Sequence[int],
    number: int,
    chance: random.Random,
    metrics: int = 3,
) -> dict[str, object]:
    """One record as the daemon writes it: readings of these event times (ms)."""
    received_at = times[-1] + 20
    payload = msgspec.json.encode(
        {
            "v": 1,
            "boot": BOOT,
            "seq": seq,
            "readings": [{"ts": ts, "metrics": _values(chance, metrics)} for ts in times],
        }
    )
    data = encode_record(payload, device, received_at)
    return {
        "data": base64.b64encode(data).decode(),
        "partitionKey": device,
        "sequenceNumber": str(49_600_000_000_000_000_000_000 + number),
        "subSequenceNumber": 0,
        "approximateArrivalTimestamp": received_at,
        "action": "record",
    }


def _values(chance: random.Random, metrics: int) -> dict[str, object]:
    """The first of: a temperature, a humidity, a door that is seldom open, more temperatures."""
    values: dict[str, object] = {
        "temperature": round(chance.gauss(21.5, 0.5), 2),
        "humidity": round(chance.gauss(44.0, 2.0), 1),
        "door_open": chance.random() < 0.05,
    }
    for number in range(len(values), metrics):
        values[f"temperature_{number}"] = round(chance.gauss(21.5, 0.5), 2)
    return dict(list(values.items())[:metrics])


def line(records: list[dict[str, object]]) -> bytes:
    """A line of the daemon."""
    return msgspec.json.encode(
        {"action": "processRecords", "records": records, "millisBehindLatest": 0}
    )
