"""The worker's status as Prometheus metrics, in base units: seconds, counts since the start. In the
OpenMetrics format latency has exemplars: the traces of sampled messages, by bucket.

Imported by the worker's supervisor alone; a shard's child does not load ``prometheus_client``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from consumers.shard.report import Traced
from ingest.histogram import Histogram

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS: Final = openmetrics.CONTENT_TYPE_LATEST

LATENCY_BUCKETS_S: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)

_MIB: Final = 1024 * 1024

_COUNTERS: Final = {
    "records": "Stream records processed; one processed again after a crash counts again.",
    "conflicts": "Items that another writer had changed, and that were read and written again.",
    "throttled": "Statements that DynamoDB throttled, and that were sent again.",
    "items_written": "Items that DynamoDB took.",
    "acknowledgements": "Messages published that tell devices which readings are durable.",
    "acknowledgements_dropped": "Acknowledgements that could not be published.",
    "outside": "Readings that are outside of a schema which only warns; they are folded.",
}


def exposition(
    snapshot: Mapping[str, Any],
    latency: Histogram,
    puts: Histogram | None = None,
    flushes: Histogram | None = None,
    traced: Sequence[Traced] | None = None,
) -> bytes:
    """The metrics page for a snapshot of :class:`consumers.worker.status.WorkerStatus`, its
    latency and its durations of puts and of flushes (ms).

    :param traced: sampled messages, the newest last. With them, even with none, the page is in the
        OpenMetrics format, :data:`OPENMETRICS`; without, in the text format 0.0.4.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Snapshot(snapshot, latency, puts or Histogram(), flushes or Histogram(), traced or ())
    )
    if traced is None:
        return generate_latest(registry)
    page: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
    return page


class _Snapshot(Collector):
    def __init__(
        self,
        snapshot: Mapping[str, Any],
        latency: Histogram,
        puts: Histogram,
        flushes: Histogram,
        traced: Sequence[Traced],
    ) -> None:
        self._traced = traced
        self._snapshot = snapshot
        self._latency = latency
        self._puts = puts
        self._flushes = flushes

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"penstock_{name}", text, value=snapshot[name])
        readings = CounterMetricFamily(
            "penstock_readings",
            "Readings, and records without any, by what became of them.",
            labels=["disposition"],
        )
        for disposition, count in sorted(snapshot["dispositions"].items()):
            readings.add_metric([disposition], count)
        yield readings
        yield _restarts(snapshot["restarts_by_cause"])
        yield _durations(
            "latency", "From a reading's event time to its first durable write.", self._latency,
            self._traced,
        )  # fmt: skip
        yield _durations("segment_put", "Duration of a segment's put into the archive.", self._puts)
        yield _durations("flush", "Duration of a write of what was due.", self._flushes)
        yield from _daemon(snapshot)
        yield GaugeMetricFamily(
            "penstock_longest_stall_seconds",
            "Longest time since the start in which a shard with waiting records stood still.",
            value=snapshot["longest_stall_ms"] / 1000,
        )
        yield from _shards(snapshot["shards"])


def _restarts(causes: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        "penstock_restarts",
        "Restarts of the KCL daemon, and (cause child) of one shard's process under it.",
        labels=["cause"],
    )
    for cause, count in causes.items():
        family.add_metric([cause], count)
    return family


def _durations(name: str, text: str, durations: Histogram, traced: Sequence[Traced] = ()) -> Metric:
    found: dict[float, Exemplar] = {}
    for one in traced:  # of each bucket the newest
        end = next((end for end in LATENCY_BUCKETS_S if one.ms <= end * 1000), math.inf)
        found[end] = Exemplar({"trace_id": one.trace}, one.ms / 1000, one.at / 1000)
    buckets: list[Any] = [
        (str(end), durations.at_most(end * 1000), found.get(end)) for end in LATENCY_BUCKETS_S
    ]
    buckets.append(("+Inf", durations.total, found.get(math.inf)))
    family = HistogramMetricFamily(f"penstock_{name}_seconds", text)
    family.add_metric([], buckets, sum_value=durations.approximate_sum() / 1000)
    return family


def _daemon(snapshot: Mapping[str, Any]) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "penstock_ready",
        "1 when the worker holds what it should and every shard has reported lately.",
        value=0 if snapshot["not_ready"] else 1,
    )
    yield GaugeMetricFamily(
        "penstock_daemon_heap_limit_bytes",
        "The most that the KCL daemon's heap may grow to.",
        value=snapshot["heap_mb"] * _MIB,
    )
    if snapshot["daemon_memory_mb"] is not None:
        yield GaugeMetricFamily(
            "penstock_daemon_memory_bytes",
            "Resident memory of the KCL daemon.",
            value=snapshot["daemon_memory_mb"] * _MIB,
        )


_MS: Final = 1000.0
_SHARD_GAUGES: Final = {
    "lag_seconds": (
        "lag_ms", 1 / _MS, "Age of the oldest record that the shard's process has not received.",
    ),
    "uncommitted_since_timestamp_seconds": (
        "uncommitted_since", 1 / _MS, "When the oldest record arrived that no checkpoint covers.",
    ),
    "unflushed_since_timestamp_seconds": (
        "unflushed_since", 1 / _MS, "When the oldest change was folded that is not durable.",
    ),
    "checkpointed_timestamp_seconds": (
        "checkpointed_at", 1 / _MS, "When the shard's checkpoint last moved.",
    ),
    "memory_bytes": ("memory_mb", _MIB, "Resident memory of the shard's process."),
    "pending_readings": (
        "pending_readings", 1, "Readings that are not durable, counted once in each tier.",
    ),
    "pending_windows": ("pending_windows", 1, "Windows that have something to write."),
    "open_windows": ("open_windows", 1, "Windows in the memory of the shard's process."),
}  # fmt: skip
"""A shard's gauges: name to the field of the status, what it is multiplied by, and the text."""
_SHARD_COUNTERS: Final = {
    "commits": ("commits", 1, "Segments committed, with their checkpoint."),
    "busy_seconds": (
        "busy_ms", 1 / _MS, "Time in which the shard's process did not wait for the daemon.",
    ),
}  # fmt: skip


def _shards(shards: list[Mapping[str, Any]]) -> Iterator[Metric]:
    for family, figures in (
        (GaugeMetricFamily, _SHARD_GAUGES),
        (CounterMetricFamily, _SHARD_COUNTERS),
    ):
        for name, (field, factor, text) in figures.items():
            metric = family(f"penstock_shard_{name}", text, labels=["shard"])
            for shard in shards:
                is_of_process = field not in ("lag_ms", "commits")
                if shard[field] is not None and (shard["pid"] or not is_of_process):
                    metric.add_metric([shard["shard"]], shard[field] * factor)
            yield metric
