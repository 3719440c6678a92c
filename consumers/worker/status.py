"""What a worker knows of its shards: the children's reports, added up, and each shard's lag.

A child's counts begin at 0 with its process. So a shard's totals are those of its current child and
of the earlier ones, of which the sums are kept.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from consumers.memory import resident_mb
from consumers.shard.report import LogLine, ShardBusy, ShardReport, Traced
from ingest.histogram import Histogram

_LOGS_KEPT: Final = 50
_REJECTS_KEPT: Final = 20
_DEVICES_KEPT: Final = 50
_CHILDREN_KEPT: Final = 3
"""Reports of a shard that are kept one by one: a child that lost its lease may report after the
next one has begun."""
_LOST_SHOWN_S: Final = 60.0
"""How long a shard whose lease is lost is still listed."""

_LAGS_FRESH_S: Final = 5.0
"""Older lags are not used: AWS has not answered the monitor since."""

CHILD: Final = "child"
"""The cause of a restart of one shard's child, under a daemon that goes on."""

STALE_S: Final = 15.0
"""How old the newest word of a shard may be while its worker counts as ready."""
STUCK_S: Final = 150.0
"""A supervisor that did nothing for so long is stuck; a restart of a daemon takes less."""

SHARES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class ShardProgress(NamedTuple):
    """How far a shard's newest child is. ``newest`` is the sequence number of the last record that
    it received, ``silent_s`` how long ago it reported; ``gone``: the daemon that it belonged to has
    ended."""

    behind_ms: int | None
    newest: str
    silent_s: float
    lease_lost: bool
    gone: bool


class _Shard:
    """The reports of one shard's children, by process id, in the order of their first report."""

    def __init__(self) -> None:
        self.reports: dict[int, ShardReport] = {}
        self.earlier_records = self.earlier_commits = 0
        self.reported_at = self.busy_at = float("-inf")
        self.gone = False

    @property
    def silent_work_ms(self) -> int:
        """Time that the newest child has been at work since its last report, as far as known."""
        worked_s = self.busy_at - self.reported_at
        return round(1000 * worked_s) if worked_s > 0 else 0

    @property
    def newest(self) -> ShardReport:
        return next(reversed(self.reports.values()))


class WorkerStatus:
    """The newest report of every child; safe to read from another thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._shards: dict[str, _Shard] = {}
        self._earlier = _nothing()
        self._lags: dict[str, int] = {}
        self._lags_at = float("-inf")
        self._logs: list[LogLine] = []
        self._longest_stall_ms = 0
        self._restarts: Counter[str] = Counter()
        self.daemon_pid = self.heap_mb = 0
        self._not_ready = "the daemon starts"
        self._watched_at: float | None = None

    def report(self, report: ShardReport) -> None:
        """Take a child's report."""
        with self._lock:
            shard = self._shards.setdefault(report.shard, _Shard())
            if report.pid not in shard.reports and report.replaced:
                self._restarts[CHILD] += 1
            shard.reports[report.pid] = report
            if shard.newest is report:
                shard.reported_at, shard.gone = self._clock(), False
                if report.behind_ms is not None and not report.lease_lost:
                    self._lags[report.shard] = report.behind_ms
            while len(shard.reports) > _CHILDREN_KEPT:
                oldest = shard.reports.pop(next(iter(shard.reports)))
                shard.earlier_records += oldest.records
                shard.earlier_commits += oldest.commits
                _add(self._earlier, oldest)

    def log(self, line: LogLine) -> None:
        """Take a child's log line."""
        with self._lock:
            self._logs = [*self._logs, line][-_LOGS_KEPT:]

    def busy(self, line: ShardBusy) -> None:
        """A child is at work, and so cannot report."""
        with self._lock:
            if line.shard in self._shards:
                self._shards[line.shard].busy_at = self._clock()

    def starving(self, seconds: float) -> list[str]:
        """The shards whose process has got nothing from the daemon for so long, is not at work and
        holds the lease, while records wait: the daemon does not do its work."""
        with self._lock:
            now = self._clock()
            if now - self._lags_at > _LAGS_FRESH_S:
                return []
            return [
                name
                for name, shard in self._shards.items()
                if self._lags.get(name, 0) >= seconds * 1000
                and now - max(shard.reported_at, shard.busy_at) >= seconds
                and not (shard.gone or shard.newest.lease_lost)
            ]

    def restarted(self, cause: str) -> None:
        """The daemon, or a child under it, was started again for this cause."""
        with self._lock:
            self._restarts[cause] += 1

    def watched(self, not_ready: str) -> None:
        """The supervisor has looked after the daemon; ``not_ready`` is what is missing, in words,
        empty when the worker holds what it should."""
        with self._lock:
            self._watched_at, self._not_ready = self._clock(), not_ready

    def not_ready(self) -> str:
        """Why the worker is not ready, in words; empty when it holds what it should and every
        shard has reported lately."""
        silent = [shard for shard, seconds in sorted(self.working().items()) if seconds > STALE_S]
        if silent:
            return f"no word for {STALE_S:.0f} s of {', '.join(silent[:5])}"
        return self._not_ready

    def not_alive(self) -> str:
        """Why the worker must be restarted as a whole, in words; empty when its supervisor does
        its work. What is wrong with the daemon, the supervisor mends."""
        silent_s = 0.0 if self._watched_at is None else self._clock() - self._watched_at
        return f"the supervisor stands still for {silent_s:.0f} s" if silent_s > STUCK_S else ""

    @property
    def restarts(self) -> int:
        """Restarts so far, of the daemon and of children."""
        return self._restarts.total()

    def restarts_by_cause(self) -> dict[str, int]:
        """Restarts so far by cause; see docs/monitoring.md."""
        return dict(sorted(self._restarts.items()))

    def working(self) -> dict[str, float]:
        """The shards that have a child under this daemon, and how long (s) each has been silent."""
        return {
            name: one.silent_s
            for name, one in self.progress().items()
            if not one.gone and not one.lease_lost
        }

    def daemon_ended(self) -> None:
        """All children are gone; what they had received and not committed is to be read again."""
        with self._lock:
            for shard in self._shards.values():
                shard.gone = True

    def progress(self) -> dict[str, ShardProgress]:
        """How far each shard is that has ever reported."""
        with self._lock:
            now = self._clock()
            return {
                name: ShardProgress(
                    shard.newest.behind_ms,
                    shard.newest.newest,
                    now - shard.reported_at,
                    shard.newest.lease_lost or shard.newest.ended,
                    shard.gone,
                )
                for name, shard in self._shards.items()
            }

    def set_lags(self, lags: Mapping[str, int]) -> None:
        """The lag (ms) of each shard that this worker answers for, see
        :mod:`consumers.worker.lag`; others have none."""
        with self._lock:
            self._lags = dict(lags)
            now = self._lags_at = self._clock()
            for name, shard in self._shards.items():
                stood_ms = min(lags.get(name, 0), round((now - shard.reported_at) * 1000))
                self._longest_stall_ms = max(self._longest_stall_ms, stood_ms)

    def latency(self) -> Histogram:
        """Device to hot store (ms), of all readings so far."""
        with self._lock:
            return Histogram(self._totals().latency)

    def puts(self) -> Histogram:
        """Durations (ms) of the puts of segments."""
        with self._lock:
            return Histogram(self._totals().puts)

    def flushes(self) -> Histogram:
        """Durations (ms) of writes of what was due in the hot tables."""
        with self._lock:
            return Histogram(self._totals().flushes)

    def traced(self) -> list[Traced]:
        """Sampled messages that became durable lately, the newest last."""
        with self._lock:
            found = [one for report in self._reports() for one in report.traced]
        return sorted(found, key=lambda one: one.at)

    def snapshot(self) -> dict[str, Any]:
        """Totals and shards, as ``penstock status`` and ``/status`` show them."""
        not_ready = self.not_ready()
        with self._lock:
            self._drop_lost()
            total = self._totals()
            logs = list(self._logs)
            names = sorted(self._shards.keys() | self._lags.keys())
            shards = [_show(name, self._shards.get(name), self._lags.get(name)) for name in names]
            rejects = _newest_rejects(self._reports())
            rejected_devices = _rejected_devices(self._reports())
            lags = dict(self._lags)
            longest_stall_ms = max(self._longest_stall_ms, total.longest_stall_ms)
        return {
            "records": total.records,
            "dispositions": total.dispositions,
            "durable": total.durable,
            "conflicts": total.conflicts,
            "throttled": total.throttled,
            "items_written": total.items_written,
            "restarts": self.restarts,
            "restarts_by_cause": self.restarts_by_cause(),
            "not_ready": not_ready,
            "heap_mb": self.heap_mb,
            "daemon_memory_mb": resident_mb(self.daemon_pid) if self.daemon_pid else None,
            "acknowledgements": total.acknowledgements,
            "acknowledgements_dropped": total.acknowledgements_dropped,
            "outside": total.outside,
            "first_durable_at": total.first_durable_at,
            "lag_ms": max(lags.values(), default=None),
            "longest_stall_ms": longest_stall_ms,
            "latency_ms": _percentiles(total.latency),
            "live_latency_ms": _percentiles(total.live_latency),
            "shards": shards,
            "rejects": rejects,
            "rejected_devices": rejected_devices,
            "log": [{"level": line.level, "message": line.message} for line in logs],
        }

    def _reports(self) -> list[ShardReport]:
        return [one for shard in self._shards.values() for one in shard.reports.values()]

    def _totals(self) -> ShardReport:
        total = _nothing()
        for report in (self._earlier, *self._reports()):
            _add(total, report)
        return total

    def _drop_lost(self) -> None:
        """Keep the counts of shards whose lease is long lost, and nothing else of them."""
        now = self._clock()
        for name, shard in list(self._shards.items()):
            left = shard.newest.lease_lost or shard.newest.ended or shard.gone
            if left and now - shard.reported_at > _LOST_SHOWN_S:
                del self._shards[name]
                for report in shard.reports.values():
                    _add(self._earlier, report)


def _nothing() -> ShardReport:
    counts: dict[str, dict[Any, int]] = {name: {} for name in _HISTOGRAMS}
    return ShardReport(shard="", pid=0, **counts)  # type: ignore[arg-type]


_HISTOGRAMS: Final = ("dispositions", "latency", "live_latency", "puts", "flushes")
_SUMS: Final = (
    "records", "durable", "conflicts", "throttled", "items_written", "acknowledgements",
    "acknowledgements_dropped", "outside",
)  # fmt: skip


def _add(total: ShardReport, report: ShardReport) -> None:
    """Add a report's counts to a total."""
    for name in _SUMS:
        setattr(total, name, getattr(total, name) + getattr(report, name))
    for name in _HISTOGRAMS:
        _add_counts(getattr(total, name), getattr(report, name))
    total.longest_stall_ms = max(total.longest_stall_ms, report.longest_stall_ms)
    firsts = [r.first_durable_at for r in (total, report) if r.first_durable_at is not None]
    total.first_durable_at = min(firsts, default=None)


def _add_counts(total: dict[Any, int], counts: Mapping[Any, int]) -> None:
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count


def _percentiles(counts: Mapping[int, int]) -> dict[str, float | None]:
    histogram = Histogram(counts)
    return {name: histogram.percentile(share) for name, share in SHARES}


def _show(name: str, shard: _Shard | None, lag_ms: int | None) -> dict[str, Any]:
    """One shard. One that has not reported here has a lag and nothing else."""
    newest = shard.newest if shard is not None else ShardReport(shard=name, pid=0)
    mine = shard.reports.values() if shard is not None else ()
    return {
        "shard": name,
        "pid": newest.pid or None,
        "records": sum(r.records for r in mine) + (shard.earlier_records if shard else 0),
        "lag_ms": lag_ms,
        "uncommitted_since": newest.uncommitted_since,
        "unflushed_since": newest.unflushed_since,
        "pending_readings": newest.pending_readings,
        "pending_windows": newest.pending_windows,
        "open_windows": newest.open_windows,
        "busy_ms": newest.busy_ms + (shard.silent_work_ms if shard is not None else 0),
        "commits": sum(r.commits for r in mine) + (shard.earlier_commits if shard else 0),
        "committed_at": newest.committed_at,
        "committed_key": newest.committed_key,
        "checkpointed_at": newest.checkpointed_at,
        "memory_mb": newest.memory_mb,
        "lease_lost": newest.lease_lost,
    }


def _newest_rejects(reports: Iterable[ShardReport]) -> list[dict[str, Any]]:
    found = [msgspec.structs.asdict(one) for report in reports for one in report.rejects]
    return sorted(found, key=lambda one: int(one["at"]), reverse=True)[:_REJECTS_KEPT]


def _rejected_devices(reports: Iterable[ShardReport]) -> dict[str, dict[str, Any]]:
    """Of each device with something that was not folded: readings by disposition, and when the
    newest came (ms). The devices with the newest come first."""
    merged: dict[str, dict[str, Any]] = {}
    for report in reports:
        for device, one in report.rejected_devices.items():
            known = merged.setdefault(device, {"dispositions": {}, "last_at": 0})
            _add_counts(known["dispositions"], one.dispositions)
            known["last_at"] = max(known["last_at"], one.last_at)
    newest = sorted(merged.items(), key=lambda item: int(item[1]["last_at"]), reverse=True)
    return dict(newest[:_DEVICES_KEPT])
