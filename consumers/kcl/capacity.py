"""What one KCL daemon may hold, and so its heap and how many leases it may take. Pure.

For each shard the daemon holds, all at once in the worst case (KCL 3.1.3):

* answers of ``GetRecords`` that wait: ``PrefetchRecordsPublisher`` asks for another one while it
  holds less than 8 MiB and 30,000 records, in a queue of 3. These three bounds are constants of
  ``SimpleRecordsFetcherFactory``; no property of the MultiLang daemon reaches them. So the size of
  one answer decides, and ``maxRecords`` bounds that, but for Kinesis' own limit of 10 MiB;
* the answer that is handed to the child, in four shapes: the records, their copy for Jackson, the
  JSON text as UTF-16 in Jackson's buffer, and that text as a string (twice while it is copied);
* the answer that arrives: its HTTP body, the JSON nodes, the records.

:data:`HEAP_A_BYTE` is what this came to when measured, see docs/decisions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ingest.settings import Settings, SettingsError

MIB: Final = 1024 * 1024
ANSWER_BYTES: Final = 10 * MIB
"""The most that one ``GetRecords`` answers with."""
RECORD_BYTES: Final = 175 * 1024
"""The largest record: a payload of 128 KiB as base64, and the rule's envelope."""
HEAP_A_BYTE: Final = 9
"""Bytes of heap for each byte of the largest answer, for each shard."""
HEAP_BASE_MB: Final = 64
"""Heap of a daemon without a shard: the AWS clients, HTTP connections, classes' data."""
OUTSIDE_HEAP_MB: Final = 160
"""The JVM's memory that is no heap (code, metaspace, stacks), and the supervisor's."""
CHILD_MB: Final = 128
"""A shard's child with 100,000 devices and the largest line in hand."""
MOST_LEASES: Final = 32
"""Leases a worker takes unless ``max_leases`` says otherwise, however much memory there is."""
USABLE: Final = 0.8
"""Share of the memory that a worker plans with."""


class Capacity(NamedTuple):
    """Records that one read asks for, the daemon's heap (MiB), and leases that a worker takes."""

    max_records: int
    heap_mb: int
    leases: int


def capacity(settings: Settings, memory_mb: int) -> Capacity:
    """The capacity of a worker on a machine, or in a container, of ``memory_mb`` MiB.

    What ``heap_mb`` and ``max_leases`` leave open follows from the other and from the memory.

    :raises SettingsError: when what is set does not fit; the text says what would.
    """
    a_lease = lease_heap_mb(settings.max_records)
    room = int(memory_mb * USABLE) - OUTSIDE_HEAP_MB
    heap_mb, leases = settings.heap_mb, settings.max_leases
    if leases is None:
        by_memory = (room - HEAP_BASE_MB) // (a_lease + CHILD_MB)
        by_heap = MOST_LEASES if heap_mb is None else (heap_mb - HEAP_BASE_MB) // a_lease
        leases = min(MOST_LEASES, by_memory, by_heap)
        if by_heap < 1:
            raise SettingsError(_too_small(heap_mb or 0, 1, settings.max_records))
        if leases < 1:
            raise SettingsError(
                f"this machine has {memory_mb} MiB of memory, and a worker of one shard needs "
                f"{_memory_for(1, a_lease)}: give it more, or lower max_records"
            )
    needed = HEAP_BASE_MB + leases * a_lease
    if heap_mb is not None and heap_mb < needed:
        raise SettingsError(_too_small(heap_mb, leases, settings.max_records))
    if (heap_mb or needed) + leases * CHILD_MB > room:
        raise SettingsError(
            f"setting max_leases = {leases}: that many shards need {_memory_for(leases, a_lease)} "
            f"MiB of memory and this machine has {memory_mb}: lower max_leases or max_records"
        )
    return Capacity(settings.max_records, heap_mb or needed, leases)


def answer_bytes(max_records: int) -> int:
    """The most that one read of so many records can answer with."""
    return min(ANSWER_BYTES, max_records * RECORD_BYTES)


def lease_heap_mb(max_records: int) -> int:
    """Heap (MiB) that each shard needs when it is behind, whatever its records' size."""
    return -(-HEAP_A_BYTE * answer_bytes(max_records) // MIB)


def _memory_for(leases: int, a_lease: int) -> int:
    """Memory (MiB) of a machine on which a worker takes so many leases."""
    used = HEAP_BASE_MB + OUTSIDE_HEAP_MB + leases * (a_lease + CHILD_MB)
    return int(-(-used // USABLE))


def _too_small(heap_mb: int, leases: int, max_records: int) -> str:
    needed = HEAP_BASE_MB + leases * lease_heap_mb(max_records)
    return (
        f"setting heap_mb = {heap_mb}: {leases} shard{'s' * (leases > 1)} with max_records = "
        f"{max_records} can need {needed} MiB when they are behind: raise heap_mb, or lower "
        "max_leases or max_records"
    )
