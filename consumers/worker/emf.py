"""The worker's own metrics in CloudWatch's embedded metric format (EMF): one JSON line, from which
CloudWatch Logs makes metrics without a call of ours or a right to make one. Pure.

"Specification: Embedded metric format" in the CloudWatch user guide: metadata under ``_aws``, each
metric and dimension a member of the root. The only dimension is the stack, so a metric of all
workers costs once: of a gauge take the maximum, of a count the sum. Which worker it was is in the
line, for Logs Insights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from consumers.disposition import OK
from ingest.histogram import Histogram

NAMESPACE: Final = "Penstock"
DIMENSION: Final = "Stack"

GAUGES: Final = {
    "Lag": "Seconds",
    "BusyShare": "Percent",
    "CheckpointAge": "Seconds",
    "UnflushedAge": "Seconds",
    "FlushP99": "Milliseconds",
    "RejectShare": "Percent",
    "HeapLimit": "Megabytes",
    "DaemonMemory": "Megabytes",
    "ChildMemory": "Megabytes",
    "PendingReadings": "Count",
    "OpenWindows": "Count",
    "Ready": "Count",
}
"""Metric name to unit: what is at a moment, see docs/monitoring.md."""
COUNTS: Final = {
    "Records": "Count",
    "Readings": "Count",
    "Rejects": "Count",
    "Conflicts": "Count",
    "Throttles": "Count",
    "ItemsWritten": "Count",
    "Restarts": "Count",
}
"""Metric name to unit: what happened since the line before. Each restart is also counted as
``Restarts`` and its cause, ``RestartsChildFailed`` for example, a metric that exists only once
there was one."""
LAKE: Final = {"LakeSyncs": "Count", "LakeCompactions": "Count"}
"""Metric name to unit: runs of the lake's scheduled tasks that reached their end."""

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class Sample(NamedTuple):
    """The status of a worker at a time (ms since the epoch): its snapshot, see
    :meth:`consumers.worker.status.WorkerStatus.snapshot`, and the durations of its flushes."""

    at_ms: int
    snapshot: Mapping[str, Any]
    flushes: Histogram


def emf_line(before: Sample, now: Sample, *, stack: str, worker: str) -> bytes:
    """The line, without its end, for the time between two samples. What is not known is left out:
    a worker without a shard has no lag.

    >>> nothing = {"records": 0, "dispositions": {}, "conflicts": 0, "throttled": 0,
    ...     "items_written": 0, "restarts_by_cause": {}, "heap_mb": 64, "daemon_memory_mb": None,
    ...     "lag_ms": None, "not_ready": "", "shards": []}
    >>> b'"Lag"' in emf_line(Sample(0, nothing, Histogram()), Sample(1, nothing, Histogram()),
    ...     stack="s", worker="w")
    False
    """
    values = {**_gauges(before, now), **_counts(before.snapshot, now.snapshot)}
    values["RejectShare"] = _share(values["Rejects"], values["Readings"])
    known = {name: round(value, 3) for name, value in values.items() if value is not None}
    return _line(now.at_ms, known, stack=stack, worker=worker)


def count_line(name: str, *, stack: str, at_ms: int) -> bytes:
    """The line, without its end, that says that something was done once.

    >>> b'"LakeSyncs":1' in count_line("LakeSyncs", stack="plant-7", at_ms=1795420800000)
    True
    """
    return _line(at_ms, {name: 1}, stack=stack)


def _line(at_ms: int, values: Mapping[str, float], **members: str) -> bytes:
    units = {**GAUGES, **COUNTS, **LAKE}
    metadata = {
        "Timestamp": at_ms,
        "CloudWatchMetrics": [
            {
                "Namespace": NAMESPACE,
                "Dimensions": [[DIMENSION]],
                "Metrics": [{"Name": name, "Unit": units.get(name, "Count")} for name in values],
            }
        ],
    }
    return _encode({"_aws": metadata, DIMENSION: members.pop("stack"), **members, **values})


def _gauges(before: Sample, now: Sample) -> dict[str, float | None]:
    shot, shards = now.snapshot, now.snapshot["shards"]
    lag_ms = shot["lag_ms"]
    return {
        "Lag": None if lag_ms is None else lag_ms / 1000,
        "BusyShare": _busiest(before, now),
        "CheckpointAge": _age_s(now.at_ms, (one["uncommitted_since"] for one in shards)),
        "UnflushedAge": _age_s(now.at_ms, (one["unflushed_since"] for one in shards)),
        "FlushP99": _added(before.flushes, now.flushes).percentile(0.99),
        "HeapLimit": shot["heap_mb"],
        "DaemonMemory": shot["daemon_memory_mb"],
        "ChildMemory": max((one["memory_mb"] for one in shards), default=None),
        "PendingReadings": sum(one["pending_readings"] for one in shards),
        "OpenWindows": sum(one["open_windows"] for one in shards),
        "Ready": 0 if shot["not_ready"] else 1,
    }


def _counts(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, float | None]:
    def since(name: str) -> int:
        return max(0, int(now[name]) - int(before[name]))

    readings = _rise(before["dispositions"], now["dispositions"])
    causes = _rise(before["restarts_by_cause"], now["restarts_by_cause"])
    return {
        "Records": since("records"),
        "Readings": sum(readings.values()),
        "Rejects": sum(count for name, count in readings.items() if name != OK),
        "Conflicts": since("conflicts"),
        "Throttles": since("throttled"),
        "ItemsWritten": since("items_written"),
        "Restarts": sum(causes.values()),
        **{f"Restarts{_camel(cause)}": count for cause, count in causes.items()},
    }


def _share(part: float | None, whole: float | None) -> float | None:
    """In percent; ``None`` of nothing."""
    return 100 * (part or 0) / whole if whole else None


def _rise(before: Mapping[Any, int], now: Mapping[Any, int]) -> dict[Any, int]:
    """What was added to each count that grew."""
    rises = {name: count - before.get(name, 0) for name, count in now.items()}
    return {name: rise for name, rise in rises.items() if rise > 0}


def _added(before: Histogram, now: Histogram) -> Histogram:
    return Histogram(_rise(before.counts, now.counts))


def _busiest(before: Sample, now: Sample) -> float | None:
    """The share (%) of the time in which the busiest shard's process was at work. One that has
    been replaced counts from its own beginning."""
    elapsed_ms = max(1, now.at_ms - before.at_ms)
    earlier = {(one["shard"], one["pid"]): one["busy_ms"] for one in before.snapshot["shards"]}
    busy_ms = (
        one["busy_ms"] - earlier.get((one["shard"], one["pid"]), 0)
        for one in now.snapshot["shards"]
        if one["pid"] is not None
    )
    return max((min(100.0, max(0.0, 100 * ms / elapsed_ms)) for ms in busy_ms), default=None)


def _age_s(at_ms: int, since: Iterable[int | None]) -> float:
    """How long (s) the oldest has waited; 0 when nothing waits."""
    oldest = min((ms for ms in since if ms is not None), default=at_ms)
    return max(0, at_ms - oldest) / 1000


def _camel(cause: str) -> str:
    return "".join(part.capitalize() for part in cause.split("_"))
