"""What a proof costs on AWS at most, before it starts; and afterwards, from what was sent. Pure.

AWS has no meters that can be read within minutes, so each figure is an upper bound: every message
is a write to every tier and to the roster, hours that have begun count whole, nothing is free.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from infra.cost.bill import Bill, Meter, bill
from infra.cost.month import (
    CONNECTION_MESSAGES,
    CONNECTIVITY,
    KINESIS,
    MESSAGING,
    PUTS,
    READS,
    RULES,
    WRITES,
)
from infra.cost.prices import PriceList
from simulator.scenario import Fleet, Scenario

MINUTES: Final = 15.0
"""The longest that a run on AWS should take; the estimate is for so long."""
SHARDS: Final = 2
"""With which the stream begins; each of the two faults of the stream's shards adds two."""
_WRITES_A_MESSAGE: Final = 4
_WRITES_A_SECOND: Final = 6
"""Of leases, workers' metrics and status."""
_READS_A_SECOND: Final = 20
_CONNECTIONS: Final = 20
"""Of a device, storms and power cuts included."""
_REGISTRY_CALLS: Final = 20
"""To make a device and to remove it."""
_REQUESTS_A_SECOND: Final = 5
_REPEATED: Final = 1.5
"""For what is published twice, garbage, and what the error queue brings back."""


class Extent(NamedTuple):
    """How much a run is."""

    devices: int
    messages: float
    minutes: float
    shards: int


def extent_of(scenario: Scenario, minutes: float = MINUTES) -> Extent:
    """How much a scenario can be at most."""
    messages = sum(_messages(fleet) for fleet in scenario.fleets) * _REPEATED
    return Extent(scenario.devices, math.ceil(messages), minutes, SHARDS + 2)


def _messages(fleet: Fleet) -> float:
    """Of a fleet without its faults: the area under its rate."""
    each = sum(one.seconds * (one.first + one.last) / 2 for one in fleet.segments())
    return fleet.devices * each


def most(extent: Extent, prices: PriceList) -> Bill:
    """The bill that AWS's list prices make of it, at most."""
    return bill(_meters(extent), prices, extent.messages)


def _meters(extent: Extent) -> Iterator[Meter]:
    seconds, messages = extent.minutes * 60, extent.messages
    yield Meter(
        CONNECTIVITY, "connected devices", "iot.connection", extent.devices * extent.minutes
    )
    yield Meter(
        MESSAGING,
        "connections and presence",
        "iot.message",
        extent.devices * _CONNECTIONS * CONNECTION_MESSAGES,
    )
    yield Meter(MESSAGING, "registry", "iot.shadow", extent.devices * _REGISTRY_CALLS)
    yield Meter(RULES, "rules triggered", "iot.rule", messages)
    yield Meter(RULES, "actions executed", "iot.action", messages)
    yield Meter(
        KINESIS,
        "shards, by the hour",
        "kinesis.shard-hour",
        extent.shards * math.ceil(extent.minutes / 60),
    )
    yield Meter(KINESIS, "PUT payload units", "kinesis.put-unit", messages)
    yield Meter(
        WRITES,
        "all tables",
        "dynamodb.write",
        messages * _WRITES_A_MESSAGE + seconds * _WRITES_A_SECOND,
    )
    yield Meter(
        READS,
        "all tables",
        "dynamodb.read",
        messages * _WRITES_A_MESSAGE + seconds * _READS_A_SECOND,
    )
    yield Meter(PUTS, "PUT and LIST", "s3.put", seconds * _REQUESTS_A_SECOND)
    yield Meter(PUTS, "GET", "s3.get", seconds * _REQUESTS_A_SECOND)
