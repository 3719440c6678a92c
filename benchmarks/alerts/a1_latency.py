"""A1: from a reading's ``ts`` to its alarm on the event bus, "like AWS", at freshness ``live``.

The whole path with the profile "like AWS": 100 messages a second from 50 devices, and beside them
devices that are too hot once, one after the other, each at a random time within a second. The rule
looks at a maximum, so it is decided as soon as the window is durable. The sample is the time from
the hot reading's ``ts`` to the event's arrival in a queue that hears the bus. Where it goes is read
from the tables: when the rule received the reading, when its window and its alarm were written.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure import Progress, Result, Samples, limit, none_of, result
from benchmarks.path.p4_full_path import driven, local_stack
from benchmarks.path.p13_live_page import with_freshness
from consumers.alerts.rule_file import parse_rules
from consumers.alerts.store import READ_S
from devices.batch import Outgoing
from devices.identity import Identity
from devices.mqtt.client import TelemetryClient
from infra.alarms import apply_rules
from infra.emulator.profile import LIKE_AWS
from infra.simulation.hearing import Listener
from infra.simulation.provision_fleet import fleet_names, provision_fleet
from infra.target import Target
from ingest.histogram import Histogram
from ingest.message import Message, Reading, encode
from ingest.tables.alarms import changed_at
from ingest.tables.hot import newest_windows_query

DEVICES: Final = 50
RATE: Final = 2.0
ALARMING: Final = 200
A_SECOND: Final = 4
SLICES: Final = 5
DELIVERED_S: Final = 30.0
TARGET_P50_MS: Final = 1000.0
TARGET_P99_MS: Final = 2000.0
PARTS: Final = (
    "reading to rule", "rule to window written", "window to alarm recorded", "alarm to bus",
)  # fmt: skip
RULE: Final = """
[[rule]]
name = "too-hot"
devices = "*-hot"
tier = "1m"
when = "max(heat) > 80"
severity = "critical"
"""


def run(progress: Progress) -> Result:
    """Measure 200 alarms."""
    with (
        with_freshness("live"),
        local_stack(progress, profile=LIKE_AWS) as stack,
        tempfile.TemporaryDirectory() as folder,
    ):
        target = stack.target
        names = fleet_names(target.settings.stack, DEVICES + ALARMING)
        plain = provision_fleet(target, names[:DEVICES], group="bench")
        hot_names = [(f"{name}-hot", kind) for name, kind in names[DEVICES:]]
        hot = provision_fleet(target, hot_names, group="bench")
        apply_rules(target, [one for _, _, one in parse_rules(RULE)], 0)
        stack.await_shards()
        seconds = ALARMING / A_SECOND + READ_S + 20
        with (
            Listener(target, Path(folder) / "heard.jsonl") as listener,
            driven(stack, plain, RATE, seconds),
        ):
            time.sleep(READ_S + 3)  # workers know the rule by then
            progress(f"{ALARMING} alarms, {A_SECOND} a second …")
            sent = asyncio.run(raise_alarms(hot))
            deadline = time.monotonic() + DELIVERED_S
            while len({one.event["device"] for one in listener.heard()}) < ALARMING:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.2)
        heard = {one.event["device"]: one.at for one in reversed(listener.heard())}
        times = [[ts, *times_of(target, device), heard[device]]
                 for device, ts in sent.items() if device in heard]  # fmt: skip
    ages = [heard[device] - ts for device, ts in sent.items() if device in heard]
    size = max(1, len(ages) // SLICES)
    slices = [Histogram() for _ in range(0, len(ages), size)]
    for number, age in enumerate(ages):
        slices[number // size].add(age)
    what = f"device ts to the event bus, {ALARMING} alarms beside {DEVICES * RATE:.0f} messages/s"
    whole = sorted(ages)
    return result(
        'device ts to an alarm on the event bus, profile "like AWS", freshness live',
        [
            limit(f"{what}: p50", _percentiles(slices, 0.5), unit="ms", at_most=TARGET_P50_MS),
            limit(f"{what}: p99", Samples([float(whole[round(0.99 * (len(whole) - 1))])]),
                  unit="ms", at_most=TARGET_P99_MS),
            none_of("alarms that never came", ALARMING - len(heard)),
        ],
        parts={name: spread([row[n + 1] - row[n] for row in times])
               for n, name in enumerate(PARTS)},
    )  # fmt: skip


def times_of(target: Target, device: str) -> tuple[int, int, int]:
    """When a device's newest message was received, its newest window written, and its alarm
    recorded (ms)."""
    settings, dynamodb = target.settings, target.client("dynamodb", "reader")
    key = {"device": {"S": device}}
    seen = dynamodb.get_item(TableName=settings.devices_table, Key=key)["Item"]["last_seen"]
    query = newest_windows_query(settings.windows_table, device, settings.tiers[0].name, 1)
    written = dynamodb.query(**query)["Items"][0]["updated_at"]
    alarm = dynamodb.get_item(TableName=settings.alerts_table, Key=key)["Item"]
    return int(seen["N"]), int(written["N"]), changed_at(alarm)


def spread(values: Sequence[int]) -> dict[str, int]:
    """Median and 99th percentile (ms)."""
    ordered = sorted(values)
    return {f"p{round(100 * share)}_ms": ordered[round(share * (len(ordered) - 1))]
            for share in (0.5, 0.99)}  # fmt: skip


async def raise_alarms(hot: Sequence[Identity]) -> dict[str, int]:
    """Let each device be too hot once; the time of that reading (ms), by device."""
    chance = random.Random(1)
    sent: dict[str, int] = {}

    async def one(identity: Identity, at: float) -> None:
        client = TelemetryClient(identity)
        await client.connect(60.0)
        await client.send(_message(0, 20.0)[0])
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        message, ts = _message(1, 95.0)
        sent[identity.device_id] = ts
        await client.send(message)
        await client.close()

    start = time.monotonic() + 10  # they connect meanwhile
    await asyncio.gather(
        *(one(each, start + (n + chance.random()) / A_SECOND) for n, each in enumerate(hot))
    )
    return dict(sorted(sent.items(), key=lambda item: item[1]))


def _message(seq: int, heat: float) -> tuple[Outgoing, int]:
    ts = time.time_ns() // 1_000_000
    message = Message(1, "benchboot", seq, [Reading(ts, {"heat": heat})])
    return Outgoing("benchboot", seq, 1, encode(message)), ts


def _percentiles(slices: Sequence[Histogram], share: float) -> Samples:
    return Samples([one.percentile(share) or float("inf") for one in slices])
