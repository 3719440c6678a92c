"""What a played day costs, at the list prices of ``penstock cost``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.scale.day import Day
from benchmarks.scale.service import MEMORY_MB, SETTINGS, VCPU
from infra.cost.bill import Bill, Meter, bill
from infra.cost.measured import archived_bytes, measurements
from infra.cost.metering import GB, HOURS, iot_messages, put_units
from infra.cost.month import (
    CONNECTION_MESSAGES,
    CONNECTIVITY,
    KINESIS,
    MESSAGING,
    OBJECTS,
    PUTS,
    READS,
    RULES,
    WORKERS,
    WRITES,
)
from infra.cost.prices import read_prices
from infra.cost.workload import Workload

DAYS: Final = HOURS / 24
"""Of a month: prices have tiers by the month, so a month of such days is priced."""


def price(day: Day) -> Bill:
    """The bill of the day. What is stored is left out, but for the archive's new bytes."""
    month = list(_month(day))
    priced = bill(month, read_prices(), day.totals["messages"] * DAYS)
    items = [
        type(item)(item.line, item.what, item.quantity / DAYS, item.unit, item.usd / DAYS)
        for item in priced.items
    ]
    return Bill(items, day.totals["messages"])


def _month(day: Day) -> Iterator[Meter]:
    plan, totals = day.scenario, day.totals
    load = Workload(devices=plan.devices, every_s=plan.every_s, metrics=plan.metrics)
    played = plan.day_s / 86_400
    minutes = float(day.column("connected").sum()) * plan.step_s / 60

    def meter(line: str, what: str, price: str, quantity: float) -> Meter:
        return Meter(line, what, price, quantity * DAYS)

    connects, messages = totals["connects"], totals["messages"]
    metered = messages * iot_messages(load.published_bytes)
    yield meter(CONNECTIVITY, "connected devices", "iot.connection", minutes)
    yield meter(
        MESSAGING, "connections and presence", "iot.message", connects * CONNECTION_MESSAGES
    )
    yield meter(MESSAGING, "shadow, at each connection", "iot.shadow", connects)
    yield meter(RULES, "rules triggered", "iot.rule", metered)
    yield meter(RULES, "actions executed", "iot.action", metered)
    yield meter(KINESIS, "shards", "kinesis.shard-hour", plan.shards * 24 * played)
    yield meter(
        KINESIS, "PUT payload units", "kinesis.put-unit", messages * put_units(load.record_bytes)
    )
    yield meter(
        WRITES, "windows and latest states", "dynamodb.write",
        totals["window_writes"] + totals["device_writes"],
    )  # fmt: skip
    minute = 60.0
    status = sum(one.status_writes for one in day.overheads) * minute
    leases = sum(one.lease_writes for one in day.overheads) * minute
    scans = sum(one.lease_reads for one in day.overheads) * minute
    yield meter(WRITES, "workers' status", "dynamodb.write", status)
    yield meter(WRITES, "leases and checkpoints", "dynamodb.write", leases)
    yield meter(READS, "windows before their first write", "dynamodb.read", totals["reads"])
    yield meter(READS, "lease table, read by each worker", "dynamodb.read", scans)
    reading = float(day.column("read_shards").sum()) * plan.step_s
    yield meter(PUTS, "segments", "s3.put", reading / SETTINGS.segment_age_s)
    stored = day.readings["folded"] * archived_bytes(measurements(), plan.metrics) / GB
    yield meter(OBJECTS, "the day's archive, for a month", "s3.storage", stored)
    hours = totals["task_hours"]
    yield meter(WORKERS, "vCPUs", "fargate.vcpu-hour", hours * VCPU)
    yield meter(WORKERS, "memory", "fargate.gb-hour", hours * MEMORY_MB / 1024)
