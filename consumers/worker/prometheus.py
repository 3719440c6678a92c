"""The worker's status as Prometheus metrics, in base units: seconds, counts since the start.

Imported by the worker's supervisor alone; a shard's child does not load ``prometheus_client``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ingest.histogram import Histogram

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

LATENCY_BUCKETS_S: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)

_COUNTERS: Final = {
    "records": "Stream records processed; one processed again after a crash counts again.",
    "conflicts": "Items that another writer had changed, and that were read and written again.",
    "throttled": "Statements that DynamoDB throttled, and that were sent again.",
    "restarts": "Starts of the KCL daemon after it had ended.",
    "acknowledgements": "Messages published that tell devices which readings are durable.",
    "acknowledgements_dropped": "Acknowledgements that could not be published.",
}


def exposition(snapshot: Mapping[str, Any], latency: Histogram) -> bytes:
    """The metrics page (text format 0.0.4) for a snapshot of
    :class:`consumers.worker.status.WorkerStatus` and its latency (ms)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot, latency))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, snapshot: Mapping[str, Any], latency: Histogram) -> None:
        self._snapshot = snapshot
        self._latency = latency

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
        yield _latency(self._latency)
        yield GaugeMetricFamily(
            "penstock_longest_stall_seconds",
            "Longest time since the start in which a shard with waiting records stood still.",
            value=snapshot["longest_stall_ms"] / 1000,
        )
        yield from _shards(snapshot["shards"])


def _latency(latency: Histogram) -> Metric:
    buckets = [(str(end), latency.at_most(end * 1000)) for end in LATENCY_BUCKETS_S]
    family = HistogramMetricFamily(
        "penstock_latency_seconds", "From a reading's event time to its first durable write."
    )
    family.add_metric(
        [], [*buckets, ("+Inf", latency.total)], sum_value=latency.approximate_sum() / 1000
    )
    return family


def _shards(shards: list[Mapping[str, Any]]) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "penstock_shard_lag_seconds",
        "Age of the oldest record that the shard's process has not received.",
        labels=["shard"],
    )
    uncommitted = GaugeMetricFamily(
        "penstock_shard_uncommitted_since_timestamp_seconds",
        "When the oldest record arrived that no checkpoint covers.",
        labels=["shard"],
    )
    commits = CounterMetricFamily(
        "penstock_shard_commits", "Segments committed, with their checkpoint.", labels=["shard"]
    )
    for shard in shards:
        if shard["lag_ms"] is not None:
            lag.add_metric([shard["shard"]], shard["lag_ms"] / 1000)
        if shard["uncommitted_since"] is not None:
            uncommitted.add_metric([shard["shard"]], shard["uncommitted_since"] / 1000)
        commits.add_metric([shard["shard"]], shard["commits"])
    yield lag
    yield uncommitted
    yield commits
