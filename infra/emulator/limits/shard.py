"""What one shard of a Kinesis stream takes in and gives out.

Sources: Kinesis developer guide, "Quotas and limits" (in: 1 MB/s or 1,000 records/s, partition
keys included; out: 2 MB/s and 5 reads/s; a read returns at most 10 MB or 10,000 records, and
after 10 MB reads are refused for 5 s); API reference, ``PutRecords`` (500 records; each that is
refused is so inside a 200). A stream can be set to take records of up to 10 MiB
(``UpdateMaxRecordSize``); 1 MiB is the default. MB are MiB here, as 1 MiB is what one record may
have. The guide's 2,000 records/s out is not kept: the same table lets one read return 10,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from infra.emulator.limits.bucket import TokenBucket

MIB: Final = 1024 * 1024
RECORDS_IN: Final = 1000
BYTES_IN: Final = MIB
READS: Final = 5
BYTES_OUT: Final = 2 * MIB
READ_BYTES: Final = 10 * MIB
READ_RECORDS: Final = 10_000
RECORD_BYTES: Final = MIB
CALL_BYTES: Final = 5 * MIB
PUT_UNIT: Final = 25 * 1024
MESSAGE: Final = "Rate exceeded for shard {shard} in stream {stream} under account {account}."


class ShardIn:
    """The writes that one shard takes."""

    def __init__(self, now: float) -> None:
        self._records = TokenBucket(RECORDS_IN, RECORDS_IN, now)
        self._bytes = TokenBucket(BYTES_IN, BYTES_IN, now)

    def admit(self, size: int, now: float) -> bool:
        """Whether a record of ``size`` bytes, data and partition key, is taken."""
        if not (self._records.has(1, now) and self._bytes.has(size, now)):
            return False
        self._records.spend(1, now)
        self._bytes.spend(size, now)
        return True


class ShardOut:
    """The reads that one shard gives, to all consumers that poll."""

    def __init__(self, now: float) -> None:
        self._reads = TokenBucket(READS, READS, now)
        self._bytes = TokenBucket(BYTES_OUT, 0, now)

    def admit(self, now: float) -> bool:
        """Whether a read is served; how much it returns is told to :meth:`returned`."""
        return self._bytes.has(0, now) and self._reads.take(1, now)

    def returned(self, size: int, now: float) -> None:
        """A read returned ``size`` bytes. Reads are refused until 2 MiB/s have made up for it."""
        self._bytes.spend(size, now)


def fitting(sizes: Sequence[int]) -> int:
    """How many of the next records one read returns.

    >>> fitting([6 * MIB, 3 * MIB, 3 * MIB])
    2
    """
    total = 0
    for count, size in enumerate(sizes[:READ_RECORDS]):
        total += size
        if total > READ_BYTES and count:
            return count
    return min(len(sizes), READ_RECORDS)


def put_units(size: int) -> int:
    """What a record of ``size`` bytes is billed: 25 KiB steps."""
    return max(1, -(-size // PUT_UNIT))
