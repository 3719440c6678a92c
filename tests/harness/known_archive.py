"""A small archive with known contents: three devices over six hours, and what goes wrong in it."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from consumers.archive.segment_key import HOUR_MS
from tests.harness.lake import MemoryBucket, commit, record
from tests.harness.shard import NOW, payload

HOURS: Final = 6
DEVICES: Final = ("press-1", "press-2", "mill-1")
STEP_MS: Final = 600_000


class Sent(NamedTuple):
    """A reading that a device sent and that was accepted; times in ms."""

    device: str
    seq: int
    ts: int
    arrived_at: int
    temperature: float


def sent() -> list[Sent]:
    """A reading of each device every ten minutes. ``mill-1`` stops after two hours, ``press-2``
    numbers two that never arrive and pauses for 50 minutes."""
    found, numbers = [], Counter[str]()
    for hour in range(HOURS):
        numbers["press-2"] += 2 if hour == 5 else 0
        for step in range(6):
            ts = NOW + hour * HOUR_MS + step * STEP_MS
            for place, device in enumerate(DEVICES):
                silent = device == "mill-1" and hour >= 2
                pauses = device == "press-2" and hour == 3 and 1 <= step <= 4
                if not silent and not pauses:
                    value = 20.0 + place + hour + step / 10
                    found.append(Sent(device, numbers[device], ts, ts + 100 + hour, value))
                    numbers[device] += 1
    return found


def build(bucket: MemoryBucket | None = None) -> MemoryBucket:
    """Its segments, one an hour; every reading of 9 o'clock is in the stream twice, and two
    messages were rejected."""
    bucket = bucket or MemoryBucket()
    number = 1_000
    for hour in range(HOURS):
        records = []
        for one in sent():
            if not NOW + hour * HOUR_MS <= one.ts < NOW + (hour + 1) * HOUR_MS:
                continue
            data = payload("boot-one", one.seq, [(one.ts, {"temperature": one.temperature})])
            for _ in range(2 if hour == 1 else 1):
                records.append(record(number, one.device, data, arrived_at=one.arrived_at))
                number += 1
        if hour == 4:
            arrived = NOW + 4 * HOUR_MS + 3_000_000
            for device in ("press-1", "press-2"):
                data, reason = b"\x1b[2Jgarbage", "malformed"
                records.append(
                    record(number, device, data, arrived_at=arrived, disposition=reason)  # type: ignore[arg-type]
                )
                number += 1
        commit(bucket, records)
    return bucket
