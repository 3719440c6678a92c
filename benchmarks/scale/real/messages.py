"""What the devices of a shard send, message by message."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple

import msgspec
import numpy as np

from benchmarks.scale.day import Day
from benchmarks.scale.fleet import A_BATCH, Floats, device_name
from benchmarks.workloads.traffic import BOOT, NOW
from consumers.kcl.protocol import StreamRecord
from ingest.record import encode_record

MIDNIGHT_MS: Final = NOW - 8 * 3_600_000
ON_THE_WAY_S: Final = 0.05
"""From a device's publish to the stream: the rule, and its put."""
SEQUENCE: Final = 49_600_000_000_000_000_000_000
_READING: Final = '{"ts":%d,"metrics":{"temperature":%.2f,"humidity":44.5,"door_open":false}}'


class Message(NamedTuple):
    """What a device of the shard sends: ``readings``, one each interval, the newest at ``taken``.
    It is in the stream at ``at``."""

    at: float
    device: int
    seq: int
    readings: int
    taken: float


def record(message: Message, number: int) -> StreamRecord:
    """The stream's record of a message, as the topic rule writes it."""
    first = message.seq
    times = [
        MIDNIGHT_MS + round(1000 * (message.taken - 60.0 * (message.readings - 1 - i)))
        for i in range(message.readings)
    ]
    rows = ",".join(_READING % (ts, 21 + (first + i) % 97 / 100) for i, ts in enumerate(times))
    payload = f'{{"v":1,"boot":"{BOOT}","seq":{first},"readings":[{rows}]}}'
    name = device_name(message.device)
    at = MIDNIGHT_MS + round(1000 * message.at)
    return StreamRecord(
        encode_record(payload.encode(), name, at), str(SEQUENCE + number), name, 0, at
    )


def messages(day: Day, members: Sequence[int]) -> Iterator[Message]:
    """What the devices of a shard send, in order of time, by the model's connections: the n-th of
    the day's connections is that of the device which is n-th in its crowd."""
    plan, every = day.scenario, day.scenario.every_s
    online = _online(day, np.arange(1, len(members) + 1) / len(members))
    taken = [0] * len(members)  # readings sent so far
    phases = [every * (i * 7919 % len(members)) / len(members) for i in range(len(members))]
    coming: list[Message] = []
    for minute in range(round(plan.day_s / every)):
        while coming and coming[0].at < minute * every:
            yield heappop(coming)
        for index, device in enumerate(members):
            at = minute * every + phases[index]
            begins = _begins(online[index], at, every)
            while begins is not None and taken[index] <= minute:
                size = min(minute + 1 - taken[index], A_BATCH)
                newest = phases[index] + (taken[index] + size - 1) * every
                sent = max(at, begins) + ON_THE_WAY_S
                heappush(coming, Message(sent, device, taken[index], size, newest))
                taken[index] += size
    yield from sorted(coming)


def _begins(online: list[tuple[float, float]], at: float, every: float) -> float | None:
    """When a reading taken at ``at`` can be sent before the next one is taken; ``None``: never."""
    for begin, end in online:
        if begin < at + every and at < end:
            return begin
    return None


def _online(day: Day, places: Floats) -> list[list[tuple[float, float]]]:
    """The times in which each device is connected."""
    plan = day.scenario
    curve = np.asarray(day.connected_curve)
    ends = (np.arange(len(curve)) + 1) * plan.step_s
    cut = plan.cut[0]
    before = curve[: round(cut / plan.step_s)]
    after = curve[round(cut / plan.step_s) :] - (before[-1] if len(before) else 0.0)
    result = []
    for place in places * plan.devices * (1 - 1e-9):
        spans = []
        first = int(np.searchsorted(before, place))
        if first < len(before):
            spans.append((float(ends[first]), cut))
        again = int(np.searchsorted(after, place))
        if again < len(after):
            spans.append((float(ends[len(before) + again]), float(plan.day_s)))
        result.append(spans)
    return result


def readings_of(one: StreamRecord) -> int:
    """Readings of a record that was not read: their times are counted in its payload."""
    payload = base64.b64decode(msgspec.json.decode(one.data)["payload"])
    return payload.count(b'"ts":')


def regular(devices: int, seconds: float, every_s: float) -> Iterator[Message]:
    """A reading of each device in each interval, evenly spread over it."""
    for minute in range(round(seconds / every_s)):
        for device in range(devices):
            at = minute * every_s + every_s * device / devices
            yield Message(at, device, minute, 1, at)
