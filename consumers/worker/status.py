"""What a worker knows of its shards: the children's reports, added up.

A child's counts begin at 0 with its process, so a shard's totals are its current child's plus
what earlier ones had reported.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import msgspec

from consumers.shard.report import LogLine, ShardReport
from ingest.histogram import Histogram

_LOGS_KEPT: Final = 50
_REJECTS_KEPT: Final = 20


class WorkerStatus:
    """The newest report of every child; safe to read from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[tuple[str, int], ShardReport] = {}
        self._logs: list[LogLine] = []
        self.restarts = 0

    def report(self, report: ShardReport) -> None:
        """Take a child's report."""
        with self._lock:
            self._reports[report.shard, report.pid] = report

    def log(self, line: LogLine) -> None:
        """Take a child's line for the operator."""
        with self._lock:
            self._logs = [*self._logs, line][-_LOGS_KEPT:]

    def latency(self) -> Histogram:
        """Device to hot store, of all readings so far."""
        with self._lock:
            reports = list(self._reports.values())
        return Histogram().merge(Histogram(report.latency) for report in reports)

    def snapshot(self) -> dict[str, Any]:
        """Totals and shards, as ``penstock status`` and ``/status`` show them."""
        with self._lock:
            reports = list(self._reports.values())
            logs = list(self._logs)
        latency = self.latency()
        first = [r.first_durable_at for r in reports if r.first_durable_at is not None]
        return {
            "records": sum(report.records for report in reports),
            "dispositions": _added(report.dispositions for report in reports),
            "durable": sum(report.durable for report in reports),
            "conflicts": sum(report.conflicts for report in reports),
            "throttled": sum(report.throttled for report in reports),
            "restarts": self.restarts,
            "acknowledgements": sum(report.acknowledgements for report in reports),
            "acknowledgements_dropped": sum(r.acknowledgements_dropped for r in reports),
            "first_durable_at": min(first, default=None),
            "latency_ms": {
                name: latency.percentile(share)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            },
            "shards": [_shard(shard, reports) for shard in sorted({r.shard for r in reports})],
            "rejects": _newest_rejects(reports),
            "log": [{"level": line.level, "message": line.message} for line in logs],
        }


def _shard(shard: str, reports: list[ShardReport]) -> dict[str, Any]:
    mine = [report for report in reports if report.shard == shard]
    newest = mine[-1]
    return {
        "shard": shard,
        "pid": newest.pid,
        "records": sum(report.records for report in mine),
        "behind_ms": newest.behind_ms,
        "commits": sum(report.commits for report in mine),
        "committed_at": newest.committed_at,
        "committed_key": newest.committed_key,
        "lease_lost": newest.lease_lost,
    }


def _newest_rejects(reports: list[ShardReport]) -> list[dict[str, Any]]:
    found = [msgspec.structs.asdict(one) for report in reports for one in report.rejects]
    return sorted(found, key=lambda one: int(one["at"]), reverse=True)[:_REJECTS_KEPT]


def _added(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total
