"""What a run on the embedded AWS would have cost on AWS, from what was counted while it ran."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from infra.cost.bill import Bill, Meter, bill
from infra.cost.metering import GB, iot_messages
from infra.cost.month import (
    CONNECTIVITY,
    KINESIS,
    OBJECTS,
    PUTS,
    READS,
    RULES,
    WORKERS,
    WRITES,
)
from infra.cost.prices import PriceList
from infra.cost.tables import usd
from infra.cost.workload import VCPUS, WORKER_GB
from infra.emulator.usage import Usage

LINES_TOLD: Final = 4
"""Lines of the bill that a run prints; its JSON has all of them."""


class RunCost(NamedTuple):
    """What a run used, and what that costs."""

    usage: Usage
    bill: Bill

    def document(self) -> dict[str, Any]:
        """``aws`` in what a run's ``--json`` prints; amounts are USD."""
        cost = {
            "usd": self.bill.usd,
            "usd_a_million_messages": self.bill.usd_a_million,
            "lines": {line.line: line.usd for line in self.bill.lines},
        }
        return {**self.usage.as_document(), "cost": cost}

    def lines(self) -> list[str]:
        """What a run prints: units, then the bill and its largest lines."""
        units = self.usage.as_document()["dynamodb"]["write_units_a_message"]
        million = self.bill.usd_a_million
        largest = sorted(self.bill.lines, key=lambda line: -line.usd)[:LINES_TOLD]
        return [
            f"units     {self.usage.write_units:,.0f} written, {self.usage.read_units:,.0f} read"
            + (f"; {units:.2f} written a message" if units is not None else ""),
            f"cost      {usd(self.bill.usd)} USD on AWS"
            + (f", {usd(million)} a million messages" if million is not None else "")
            + f": {', '.join(f'{line.line} {usd(line.usd)}' for line in largest)}",
        ]


def price_run(
    usage: Usage, prices: PriceList, *, devices: int, seconds: float, shards: int
) -> RunCost:
    """What AWS would have billed for a run of so many ``seconds``.

    Requests, units and bytes are those that were counted; what is billed by time (connections,
    shards, one worker) is billed for the run's; objects are kept for a month.
    """
    meters = _meters(usage, devices, seconds / 3600, shards)
    return RunCost(usage, bill(meters, prices, usage.records))


def _meters(usage: Usage, devices: int, hours: float, shards: int) -> Iterator[Meter]:
    kinesis, s3 = (usage.counts.get(name, {}) for name in ("kinesis", "s3"))
    yield Meter(CONNECTIVITY, "connected devices", "iot.connection", devices * hours * 60)
    payload = kinesis.get("bytes_in", 0) / usage.records * 3 / 4 if usage.records else 0
    metered = usage.records * iot_messages(payload)  # a record holds the payload as base64
    yield Meter(RULES, "rules triggered", "iot.rule", metered)
    yield Meter(RULES, "actions executed", "iot.action", metered)
    yield Meter(KINESIS, "shards", "kinesis.shard-hour", shards * hours)
    yield Meter(KINESIS, "PUT payload units", "kinesis.put-unit", kinesis.get("put_units", 0))
    for name, table in sorted(usage.tables.items()):
        yield Meter(WRITES, name, "dynamodb.write", table.write_units)
    yield Meter(READS, "all tables", "dynamodb.read", usage.read_units)
    yield Meter(PUTS, "PUT and LIST", "s3.put", s3.get("put_requests", 0))
    yield Meter(PUTS, "GET", "s3.get", s3.get("get_requests", 0))
    yield Meter(OBJECTS, "for a month", "s3.storage", s3.get("bytes_in", 0) / GB)
    yield Meter(WORKERS, "vCPUs", "fargate.vcpu-hour", VCPUS * hours)
    yield Meter(WORKERS, "memory", "fargate.gb-hour", WORKER_GB * hours)
