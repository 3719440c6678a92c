"""What of a device was not folded lately, from the workers' reports in ``<stack>-status``."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from infra.target import Target
from ingest.tables import status
from ingest.times import show_time

REASONS: Final = {
    "malformed": "not a message of payload v1",
    "unsupported_version": "a payload version that this worker does not know",
    "oversize": "larger than IoT Core accepts",
    "clock_ahead": "the device's clock is ahead",
    "late": "older than every tier keeps",
    "out_of_range": "a value that is too large to be folded",
    "quarantined": "outside of the schema of the device's type",
    "overflow": "its window's item is full",
    "internal_error": "the worker failed on it: see the worker's log",
}
"""Why a reading was archived and not folded, by disposition."""

Rejected = dict[str, Any]
"""``dispositions``: readings or records by disposition; ``last_at``: the newest arrival (ms)."""


def rejected_devices(target: Target) -> dict[str, Rejected]:
    """Of each device with something that was not folded lately: since the worker's processes
    began, and of the newest such devices."""
    pages = target.client("dynamodb", "dashboard").get_paginator("scan")
    merged: dict[str, Rejected] = {}
    for page in pages.paginate(TableName=target.settings.status_table):
        for report in status.reports(page["Items"]):
            for device, one in report.get("rejected_devices", {}).items():
                known = merged.setdefault(device, {"dispositions": Counter(), "last_at": 0})
                known["dispositions"].update(one["dispositions"])
                known["last_at"] = max(known["last_at"], one["last_at"])
    return merged


def rejected_of(target: Target, device: str) -> Rejected | None:
    """What of this device was not folded lately, ``None`` when nothing is known."""
    return rejected_devices(target).get(device)


def rejected_line(device: str, rejected: Rejected) -> str:
    """One sentence for a person."""
    parts = [
        f"{count} {disposition} ({REASONS.get(disposition, 'not folded')})"
        for disposition, count in sorted(rejected["dispositions"].items())
    ]
    return (
        f"{device}: not in the windows, only in the archive: {', '.join(parts)}; the last at "
        f"{show_time(rejected['last_at'])} UTC"
    )
