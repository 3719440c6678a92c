"""A workload: what is sent, how it is kept, and what it runs on. Values only."""

from __future__ import annotations

import math
from typing import Final, Literal

from msgspec import Struct

from infra.cost import item_sizes
from infra.cost.metering import SECONDS
from ingest.message import MAX_PAYLOAD_BYTES
from ingest.tiers import DEFAULT_TIERS, Tier
from ingest.topic import basic_ingest_topic

SHARD_RECORDS: Final = 1_000
SHARD_BYTES: Final = 1 << 20
"""What a shard takes in a second."""
HEADROOM: Final = 0.7
"""Share of a shard, or of provisioned capacity, that is planned for: the rest is for peaks."""
ON_DEMAND_SHARDS: Final = 4
"""With which an on-demand stream begins."""

_DEVICE: Final = "device-000000"
_TOPIC: Final = basic_ingest_topic("penstock", _DEVICE)

VCPUS: Final = 1.0
WORKER_GB: Final = 2.0
"""Of a worker's task."""

SHARDS_A_WORKER: Final = 8
"""A shard's process has at most 100 MB (benchmark P8), and the KCL's daemon takes the rest."""

Network = Literal["endpoints", "nat", "public"]


class WorkloadError(ValueError):
    """The workload cannot be; the text says which value is wrong and why."""


class Workload(Struct, frozen=True, kw_only=True):
    """A fleet and its deployment. Times are in s unless named.

    ``shards``: of a provisioned stream; 0 is on demand. ``tiers`` say how long windows are kept,
    ``archive_months`` how long the archive. ``connections_a_day``: of each device.
    ``watched``: devices that somebody looks at, on average over the month. ``viewers``: pages that
    are open at the API on average, and ``users``: people who sign in there in the month.
    ``provisioned_tables``: capacity with auto scaling instead of on demand. ``workers`` are
    Fargate tasks (0: as many as needed) of ``vcpus`` and ``memory_gb``. ``zones``,
    ``endpoints``: interface endpoints.
    """

    devices: int
    every_s: float
    metrics: int = 3
    readings: int = 1
    freshness: str = "standard"
    segment_age_s: float = 60.0
    segment_readings: int = 50_000
    segment_bytes: int = 16 << 20
    failover_s: float = 10.0
    tiers: tuple[Tier, ...] = DEFAULT_TIERS
    shards: int = 0
    retention_hours: int = 24
    fan_out: bool = False
    provisioned_tables: bool = False
    pitr: bool = True
    archive_months: float = 12.0
    acknowledge: bool = False
    connections_a_day: float = 1.0
    watched: float = 0.0
    viewers: float = 0.0
    users: int = 0
    workers: int = 0
    vcpus: float = VCPUS
    memory_gb: float = WORKER_GB
    network: Network = "endpoints"
    endpoints: int = 5
    zones: int = 2
    alarms: int = 10
    custom_metrics: int = 5
    logs_gb: float = 1.0

    def __post_init__(self) -> None:
        for name in ("devices", "every_s", "metrics", "readings", "segment_age_s"):
            if getattr(self, name) <= 0:
                raise WorkloadError(f"{name}: {getattr(self, name)} must be greater than 0")
        try:
            _ = self.payload_bytes
        except ValueError:
            raise WorkloadError(
                f"{self.readings} readings of {self.metrics} metrics make a message of more than "
                f"{MAX_PAYLOAD_BYTES} bytes, which IoT Core refuses: send fewer readings a message"
            ) from None
        if self.shards and self.shards < self.shards_needed:
            raise WorkloadError(
                f"{self.messages_a_second:,.0f} messages a second of {self.record_bytes} bytes "
                f"need {self.shards_needed} shards with room for peaks, not {self.shards}"
            )

    @property
    def messages_a_second(self) -> float:
        """Of the whole fleet."""
        return self.devices / self.every_s

    @property
    def messages(self) -> float:
        """Of a month."""
        return self.messages_a_second * SECONDS

    @property
    def payload_bytes(self) -> int:
        """Of a message."""
        return item_sizes.message_size(self.metrics, self.readings)

    @property
    def published_bytes(self) -> int:
        """Of a message with its topic, as IoT Core meters it."""
        return self.payload_bytes + len(_TOPIC)

    @property
    def record_bytes(self) -> int:
        """Of a message in the stream: payload, partition key."""
        return item_sizes.record_size(self.metrics, self.readings) + len(_DEVICE)

    @property
    def shards_needed(self) -> int:
        """For the load, with room for peaks."""
        share = max(
            self.messages_a_second / SHARD_RECORDS,
            self.messages_a_second * self.record_bytes / SHARD_BYTES,
        )
        return max(1, math.ceil(share / HEADROOM))

    @property
    def shards_read(self) -> int:
        """Shards that workers read, and write segments of."""
        return self.shards or max(ON_DEMAND_SHARDS, self.shards_needed)

    @property
    def tasks(self) -> int:
        """Workers, as many as were asked for or as the shards need."""
        return self.workers or math.ceil(self.shards_read / SHARDS_A_WORKER)

    def readings_a_window(self, tier: Tier) -> float:
        """Readings that a device sends in one window of a tier, at least one."""
        return max(1.0, tier.size_ms / 1000 / self.every_s * self.readings)

    def windows_kept(self, tier: Tier) -> float:
        """Windows of a tier in the table once the oldest have expired, all devices."""
        return self.devices * tier.ttl_s / max(tier.size_ms / 1000, self.every_s)
