"""The settings of a shard's process (a *child*): plain values in one environment variable.

``penstock consume`` resolves the settings and passes them on, so that a child reads no files and
does not import the settings' library.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from ingest.tiers import Tier

if TYPE_CHECKING:
    from ingest.settings import Settings

VARIABLE: Final = "PENSTOCK_CHILD"
WORKER_VARIABLE: Final = "PENSTOCK_WORKER_ID"
"""Environment variable with the KCL's id of the worker that a child belongs to."""


class ChildConfig(Struct, frozen=True):
    """A child's part of the settings; see :class:`ingest.settings.Settings` for each."""

    stack: str
    region: str
    endpoint_url: str | None
    windows_table: str
    devices_table: str
    bucket: str
    tiers: tuple[Tier, ...]
    latest_flush_s: float
    clock_ahead_s: int
    segment_readings: int
    segment_bytes: int
    segment_age_s: float
    acknowledge: bool = False
    flush_when_idle: bool = False
    child_timeout_s: float = 300.0
    status_table: str = ""
    traces_endpoint: str | None = None
    alerts_table: str = ""
    lease_table: str = ""


def child_config(settings: Settings, account: str) -> ChildConfig:
    """The child's part of resolved settings."""
    return ChildConfig(
        stack=settings.stack,
        region=settings.region,
        endpoint_url=settings.endpoint_url,
        windows_table=settings.windows_table,
        devices_table=settings.devices_table,
        bucket=settings.bucket(account),
        tiers=settings.tiers,
        latest_flush_s=settings.latest_flush_s,
        clock_ahead_s=settings.clock_ahead_s,
        segment_readings=settings.segment_readings,
        segment_bytes=settings.segment_bytes,
        segment_age_s=settings.segment_age_s,
        acknowledge=settings.acknowledge,
        flush_when_idle=settings.retrieval == "fanout",  # by polling empty batches come
        child_timeout_s=settings.child_timeout_s,
        status_table=settings.status_table,
        traces_endpoint=settings.traces.endpoint,
        lease_table=settings.application,
        alerts_table=settings.alerts_table if settings.alerts else "",
    )


def to_environment(config: ChildConfig) -> dict[str, str]:
    """The environment variable that carries the configuration."""
    return {VARIABLE: msgspec.json.encode(config).decode()}


def from_environment() -> ChildConfig:
    """The configuration that the worker passed on.

    :raises KeyError: when no worker started this process.
    """
    return msgspec.json.decode(os.environ[VARIABLE], type=ChildConfig)
