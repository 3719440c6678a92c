"""Reads stored windows for a comparison, and says before what that costs."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from ingest.tables.hot import roster_scans, windows_query
from ingest.tiers import Tier

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PARALLEL: Final = 8
ITEM_BYTES: Final = 600
"""A window of three metrics, as DynamoDB counts it."""
_UNIT_BYTES: Final = 4096
_EVENTUAL: Final = 0.5
"""Read units for 4 KB when a read need not see the newest write."""

Item = Mapping[str, Any]


class StoredWindows:
    """The windows table, read by device. ``units`` are the read units that DynamoDB reported."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table
        self._lock = threading.Lock()
        self.units = 0.0

    def of(
        self,
        devices: Iterable[str],
        tier: Tier,
        start_ms: int,
        end_ms: int,
        *,
        consistent: bool = False,
    ) -> Iterator[Item]:
        """The items of these devices that begin in ``[start_ms, end_ms)``, device by device."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            queries = (
                {
                    **windows_query(self._table, device, tier.name, start_ms, end_ms - 1),
                    "ConsistentRead": consistent,
                }
                for device in devices
            )
            for items in pool.map(self._query, queries):
                yield from items

    def _query(self, query: dict[str, Any]) -> Sequence[Item]:
        found: list[Item] = []
        arguments: Any = {**query, "ReturnConsumedCapacity": "TOTAL"}
        while True:
            answer: Any = self._client.query(**arguments)
            found += answer["Items"]
            with self._lock:
                self.units += answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)
            if "LastEvaluatedKey" not in answer:
                return found
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def roster(client: DynamoDBClient, table: str) -> list[str]:
    """The devices that the stack knows: half a read unit for 4 KB of the roster."""
    found: list[str] = []
    for scan in roster_scans(table):
        pages = client.get_paginator("scan").paginate(**scan, ProjectionExpression="device")
        found += [item["device"]["S"] for page in pages for item in page["Items"]]
    return sorted(found)


def estimated_units(devices: int, tiers: Sequence[Tier], span_ms: int, chunk_ms: int) -> float:
    """Read units, at most, for reading every window of so many devices over a span (ms), a query
    for each device, tier and chunk of time: every window there is, at :data:`ITEM_BYTES`.

    >>> estimated_units(10, [Tier("1m", 60, 86400)], 3_600_000, 3_600_000)
    45.0
    """
    units = 0.0
    for tier in tiers:
        chunks = max(1, math.ceil(span_ms / chunk_ms))
        windows = max(1, min(chunk_ms, span_ms) // tier.size_ms)
        units += chunks * _EVENTUAL * math.ceil(windows * ITEM_BYTES / _UNIT_BYTES)
    return devices * units
