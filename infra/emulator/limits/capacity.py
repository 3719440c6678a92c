"""How much an on-demand table of DynamoDB takes, as a whole and in each partition.

Sources: DynamoDB developer guide, "DynamoDB on-demand capacity mode" (4,000 write and 12,000
read units at first; up to twice the previous peak at once; throttling when twice the previous
peak is exceeded within 30 minutes), "Designing partition keys" (1,000 write and 3,000 read
units a partition) and "Quotas" (40,000 a table). What AWS does not publish is chosen here: no
more than one second's units are saved up, and keys spread evenly over as many partitions as the
table's units need.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum
from typing import Final

from infra.emulator.limits.bucket import TokenBucket

TABLE_QUOTA: Final = 40_000.0
BURST_S: Final = 300.0  # of a provisioned table's units that it saves up


class Refused(Enum):
    """What had no units left."""

    TABLE = "table"
    PARTITION = "partition"


@dataclass(frozen=True)
class Rates:
    """Units a second of a table at first and of a partition; 0 is no limit. ``provisioned``
    tables do not grow, and save up five minutes' units."""

    table: float
    partition: float
    peak_s: float = 1800.0
    provisioned: bool = False


def partition_of(key: str, partitions: int) -> int:
    """Which of a table's partitions holds the items of a hash key."""
    return zlib.crc32(key.encode()) % partitions


class TableCapacity:
    """The units of one table, either its write units or its read units.

    It is spent from before it is known how much a call takes, so a table may owe units.
    """

    def __init__(self, rates: Rates, now: float) -> None:
        self._rates = rates
        self._peaks: list[tuple[float, float]] = []
        self._second = int(now)
        self._used = 0.0
        self.limit = rates.table
        self._partitions: dict[int, TokenBucket] = {}
        self._table = self._bucket_of_table(now)

    def admit(self, key: str, units: float, now: float) -> Refused | None:
        """Spend ``units`` on the partition that holds ``key``, or say what refuses them."""
        self._grow(now)
        partition = self._partition(key, now)
        if partition is not None and not partition.has(units, now):
            return Refused.PARTITION
        if self._table is not None and not self._table.has(units, now):
            return Refused.TABLE
        self.spend(key, units, now)
        return None

    def spend(self, key: str, units: float, now: float) -> None:
        """Units that are used whether or not they were there, as by a failed condition."""
        self._used += units
        partition = self._partition(key, now)
        if partition is not None:
            partition.spend(units, now)
        if self._table is not None:
            self._table.spend(units, now)

    def _grow(self, now: float) -> None:
        """Close the second that is over, and let old peaks raise the table's limit."""
        if int(now) == self._second:
            return
        if self._used > (self._peaks[-1][1] if self._peaks else 0.0):
            self._peaks.append((float(self._second), self._used))
        self._second, self._used = int(now), 0.0
        if self._rates.provisioned or not self.limit:
            return
        old = [peak for at, peak in self._peaks if at <= now - self._rates.peak_s]
        grown = min(TABLE_QUOTA, max([self._rates.table, *(2 * peak for peak in old)]))
        if grown != self.limit:
            self.limit = grown
            self._table = self._bucket_of_table(now)
            self._partitions.clear()

    def _bucket_of_table(self, now: float) -> TokenBucket | None:
        if not self.limit:
            return None
        burst = self.limit * (BURST_S if self._rates.provisioned else 1.0)
        return TokenBucket(self.limit, burst, now)

    def _partition(self, key: str, now: float) -> TokenBucket | None:
        rate = self._rates.partition
        if not rate:
            return None
        count = max(1, -(-int(self.limit) // int(rate)))
        number = partition_of(key, count)
        if number not in self._partitions:
            self._partitions[number] = TokenBucket(rate, rate, now)
        return self._partitions[number]
