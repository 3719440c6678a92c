"""What of a snapshot exists for those who see some groups only. Pure.

The measure is that the answers are those of a fleet that has nothing else: what is counted, listed
and added up is of the visible devices, and figures of workers and shards, in which every group's
traffic is added up, are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from dashboard.answers import Device, Report
from dashboard.fleet import Snapshot
from dashboard.principal import Principal

GROUP: Final = "#group/"
"""What stands for a group in alerts is named so, where a device's name is expected."""


def restrict(snapshot: Snapshot, principal: Principal) -> Snapshot:
    """The snapshot as the principal may see it."""
    if principal.groups is None:
        return snapshot
    devices = {name: row for name, row in snapshot.devices.items() if principal.sees(row["group"])}
    return replace(
        snapshot,
        version=snapshot.read,
        devices=devices,
        workers=[_of_devices(report, devices) for report in snapshot.workers],
        alerts={
            subject: rows
            for subject, rows in snapshot.alerts.items()
            if is_visible(subject, devices, principal)
        },
        is_whole=False,
    )


def is_visible(subject: str, devices: Mapping[str, Device], principal: Principal) -> bool:
    """Whether an alert's subject, a device or a group, exists for the principal; ``devices`` are
    those that do."""
    if principal.groups is None or subject in devices:
        return True
    return subject.startswith(GROUP) and principal.sees(subject.removeprefix(GROUP))


def _of_devices(report: Report, devices: Mapping[str, Device]) -> Report:
    """Of a worker's report: what it rejected of these devices."""
    rejected = {
        name: one for name, one in report.get("rejected_devices", {}).items() if name in devices
    }
    dispositions: Counter[str] = Counter()
    for one in rejected.values():
        dispositions.update(one["dispositions"])
    return {
        "worker": "",
        "updated_at": 0,
        "restarts": 0,
        "conflicts": 0,
        "throttled": 0,
        "records": 0,
        "durable": 0,
        "latency_ms": {"p50": None, "p95": None, "p99": None},
        "dispositions": dict(dispositions),
        "rejects": [one for one in report.get("rejects", []) if one["device"] in devices],
        "rejected_devices": rejected,
    }
