"""The capacity of DynamoDB's tables, and how AWS words it when there is none.

Wording: boto3 issue 3834 (a statement of a PartiQL batch: ``ThrottlingError``), aws-sdk-java
issue 2222 (an on-demand table: ``ThrottlingException``), and the API reference (a provisioned
table: ``ProvisionedThroughputExceededException``).
"""

from __future__ import annotations

import json
from typing import Any, Final

from infra.emulator.limits.capacity import Rates, Refused, TableCapacity
from infra.emulator.limits.item_size import item_bytes, write_units
from infra.emulator.profile import Profile
from infra.emulator.world import World

_ON_DEMAND: Final = (
    "ThrottlingException",
    "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically "
    "scaling your table or index so please try again shortly. If exceptions persist, check if you "
    "have a hot key: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/"
    "bp-partition-key-design.html",
)
_PROVISIONED: Final = (
    "ProvisionedThroughputExceededException",
    "The level of configured provisioned throughput for the table was exceeded. Consider "
    "increasing your provisioning level with the UpdateTable API.",
)


class ThrottledError(Exception):
    """A table has no capacity for a call."""

    def __init__(self, code: str, message: str, refused: Refused) -> None:
        super().__init__(message)
        self.code = code
        self.refused = refused


def throttled_answer(error: ThrottledError) -> tuple[int, dict[str, str], bytes]:
    """The response to a call that is throttled as a whole."""
    headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-errortype": error.code}
    body = {"__type": error.code, "message": str(error)}
    return 400, headers, json.dumps(body).encode()


class Capacities:
    """The write and read units of every table, by the profile in force."""

    def __init__(self, world: World, dynamodb: Any) -> None:
        self._world = world
        self._dynamodb = dynamodb
        self._writes: dict[str, TableCapacity] = {}
        self._reads: dict[str, TableCapacity] = {}
        world.on_change(self._follow)

    def _follow(self, profile: Profile) -> None:
        self._writes.clear()
        self._reads.clear()
        self.limited = any(
            (profile.table_writes, profile.table_reads, profile.partition_writes,
             profile.partition_reads)
        )  # fmt: skip

    def admit_write(self, table: Any, key: str, units: float) -> None:
        """Spend write units.

        :raises ThrottledError: when the table or the key's partition has none.
        """
        if self.limited:
            self._admit(table, self._write_units_of(table), key, units)

    def admit_read(self, table: Any, key: str, units: float) -> None:
        """Spend read units.

        :raises ThrottledError: when the table or the key's partition has none.
        """
        if self.limited:
            self._admit(table, self._read_units_of(table), key, units)

    def spend_write(self, table: Any, key: str, units: float) -> None:
        """Write units that a failed condition uses."""
        if self.limited:
            self._write_units_of(table).spend(key, units, self._world.clock())

    def split_batch(
        self, requests: dict[str, list[Any]]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]], ThrottledError | None]:
        """The requests of a ``BatchWriteItem`` that find capacity, those that do not, and why
        the last of these did not."""
        kept: dict[str, list[Any]] = {}
        refused: dict[str, list[Any]] = {}
        reason = None
        for name, wanted in requests.items():
            table = self._dynamodb._tables.get(self._dynamodb._normalize_table_name(name))
            for request in wanted:
                try:
                    if table:
                        self._admit_request(table, request)
                except ThrottledError as error:
                    reason = error
                    refused.setdefault(name, []).append(request)
                else:
                    kept.setdefault(name, []).append(request)
        return kept, refused, reason

    def _admit_request(self, table: Any, request: Any) -> None:
        item = request.get("PutRequest", {}).get("Item") or {}
        key = item or request.get("DeleteRequest", {}).get("Key") or {}
        hash_key = self._dynamodb._extract_key_val(key.get(table["pk_name"]))
        old = self._dynamodb._get_item_by_key(table, key)
        units = write_units(item_bytes(old) if old else 0, item_bytes(item))
        self.admit_write(table, str(hash_key), units)

    def _admit(self, table: Any, capacity: TableCapacity, key: str, units: float) -> None:
        refused = capacity.admit(key, units, self._world.clock())
        if refused is not None:
            self._world.meters.add("dynamodb", "tables", table["TableName"], "throttled")
            code, message = _PROVISIONED if _is_provisioned(table) else _ON_DEMAND
            raise ThrottledError(code, message, refused)

    def _write_units_of(self, table: Any) -> TableCapacity:
        profile = self._world.profile
        return self._capacity(
            self._writes, table, profile.table_writes, profile.partition_writes,
            "WriteCapacityUnits",
        )  # fmt: skip

    def _read_units_of(self, table: Any) -> TableCapacity:
        profile = self._world.profile
        return self._capacity(
            self._reads, table, profile.table_reads, profile.partition_reads, "ReadCapacityUnits"
        )

    def _capacity(
        self, known: dict[str, TableCapacity], table: Any, first: float, partition: float,
        provisioned: str,
    ) -> TableCapacity:  # fmt: skip
        key = table["TableId"]
        if key not in known:
            rates = Rates(first, partition, self._world.profile.peak_s)
            if _is_provisioned(table):
                units = float(table["ProvisionedThroughput"][provisioned])
                rates = Rates(units, partition, provisioned=True)
            known[key] = TableCapacity(rates, self._world.clock())
        return known[key]


def _is_provisioned(table: Any) -> bool:
    mode = (table.get("BillingModeSummary") or {}).get("BillingMode", "PROVISIONED")
    return bool(mode == "PROVISIONED")
