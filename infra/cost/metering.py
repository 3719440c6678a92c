"""How AWS counts what it bills: the steps in which sizes are rounded up. Sizes are in bytes.

Sources: the pages *AWS IoT Core pricing* and *additional metering details*, *Kinesis Data Streams
pricing*, and *DynamoDB read and write operations* of the developer guide. KB is 1,024 bytes.
"""

from __future__ import annotations

from typing import Final

KB: Final = 1024
GB: Final = 1024**3
HOURS: Final = 730
"""Of a month, as AWS's own calculator has it."""
MINUTES: Final = HOURS * 60
SECONDS: Final = HOURS * 3600

STORAGE_OVERHEAD: Final = 100
"""Bytes that DynamoDB adds to each stored item when it bills storage (not when it bills writes)."""


def steps(size: float, step: int) -> int:
    """How many steps a size takes; nothing at all still takes one.

    :raises ValueError: when the size is negative.
    """
    if size < 0:
        raise ValueError(f"a size of {size} bytes cannot be metered")
    return max(1, -int(-size // step))


def iot_messages(size: float) -> int:
    """Messages, rules or actions that IoT Core meters for one of this size (topic and payload)."""
    return steps(size, 5 * KB)


def put_units(size: float) -> int:
    """PUT payload units of a record in a provisioned stream."""
    return steps(size, 25 * KB)


def on_demand_bytes(size: float) -> int:
    """Bytes that a record counts for when it is put into an on-demand stream."""
    return steps(size, KB) * KB


def write_units(size: float) -> int:
    """Write units of one item, as large as it is before or after the write."""
    return steps(size, KB)


def read_units(size: float) -> int:
    """Units of a consistent read of one item; one that is not there costs one."""
    return steps(size, 4 * KB)
