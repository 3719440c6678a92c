"""The lake's view of a deployment: its archive, and an auditor of its windows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from infra.target import Target
from lake.audit.audit import Auditor
from lake.audit.stored import StoredWindows
from lake.replay.source import ArchiveSource, S3Segments

MARGIN_S: Final = 5.0
"""What is added to the longest that a reading may wait, for the calls themselves."""


class Audited(NamedTuple):
    """An auditor, and what it reads through: both count."""

    auditor: Auditor
    stored: StoredWindows
    segments: S3Segments


def auditor_of(
    target: Target,
    *,
    arrived_until: int | None = None,
    table: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Audited:
    """An auditor of a deployment's windows, or of another windows table."""
    if table is None:
        stored = StoredWindows(target.client("dynamodb", "reader"), target.settings.windows_table)
    else:
        stored = StoredWindows(target.client("dynamodb"), table)
    source, segments = source_of(target, arrived_until)
    auditor = Auditor(
        source,
        stored,
        now_ms=lambda: time.time_ns() // 1_000_000,
        quiet_ms=round(quiet_s(target) * 1000),
        sleep=time.sleep,
        progress=progress,
    )
    return Audited(auditor, stored, segments)


def source_of(target: Target, arrived_until: int | None) -> tuple[ArchiveSource, S3Segments]:
    """The deployment's archive; segments that arrived later (ms) are left out."""
    segments = S3Segments(target.client("s3", "reader"), target.settings.bucket(target.account))
    source = ArchiveSource(
        segments, clock_ahead_s=target.settings.clock_ahead_s, arrived_until=arrived_until
    )
    return source, segments


def quiet_s(target: Target) -> float:
    """For how long a reading may be on its way from the stream to both stores (s)."""
    settings = target.settings
    longest = max(settings.latest_flush_s, *(tier.flush_s for tier in settings.tiers))
    return max(settings.segment_age_s, longest) + MARGIN_S
