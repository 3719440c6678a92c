"""The worker's metrics for CloudWatch: a pure function of two samples of its status."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from consumers.shard.report import Activity, ShardBusy, ShardReport, ShardStats
from consumers.worker import emf
from consumers.worker.emf import Sample, emf_line
from consumers.worker.metrics_log import metrics_logged
from consumers.worker.status import WorkerStatus
from ingest.histogram import Histogram

DOCS = Path(__file__).parents[2] / "docs" / "monitoring.md"


def line(before: WorkerStatus, now: WorkerStatus, seconds: float = 10.0) -> dict[str, Any]:
    first = Sample(1_000_000, before.snapshot(), before.flushes())
    second = Sample(1_000_000 + round(seconds * 1000), now.snapshot(), now.flushes())
    document: dict[str, Any] = json.loads(emf_line(first, second, stack="plant-7", worker="w-1"))
    return document


def status(*reports: ShardReport, clock: float = 0.0) -> WorkerStatus:
    kept = WorkerStatus(lambda: clock)
    for report in reports:
        kept.report(report)
    return kept


def test_the_line_has_the_form_that_cloudwatch_reads() -> None:
    """Metadata under ``_aws``; every metric and dimension that it names is a root member."""
    document = line(status(), status(ShardReport("s-0", 1, records=3, behind_ms=2_500)))
    metadata = document["_aws"]
    assert metadata["Timestamp"] == 1_010_000
    (directive,) = metadata["CloudWatchMetrics"]
    assert directive["Namespace"] == "Penstock"
    assert directive["Dimensions"] == [["Stack"]]
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert len(names) == len(set(names)) <= 100
    assert all(isinstance(document[name], int | float) for name in names)
    assert document["Stack"] == "plant-7"
    assert (document["Lag"], document["Records"]) == (2.5, 3)


def test_counts_are_of_the_time_between_two_lines() -> None:
    before = status(
        ShardReport("s-0", 1, records=10, dispositions={"ok": 9, "late": 1}, throttled=4)
    )
    now = status(
        ShardReport(
            "s-0", 1, records=15, dispositions={"ok": 12, "late": 2, "malformed": 1}, throttled=4
        )
    )
    document = line(before, now)
    assert (document["Records"], document["Readings"], document["Rejects"]) == (5, 5, 2)
    assert document["RejectShare"] == 40
    assert "RejectShare" not in line(now, now)
    assert document["Throttles"] == 0


def test_ages_are_those_of_the_oldest_shard_and_zero_when_nothing_waits() -> None:
    now = status(
        ShardReport("s-0", 1, uncommitted_since=1_007_000, unflushed_since=None),
        ShardReport("s-1", 2, uncommitted_since=1_004_000),
    )
    document = line(status(), now)
    assert (document["CheckpointAge"], document["UnflushedAge"]) == (6, 0)


def test_the_busy_share_is_that_of_the_busiest_process() -> None:
    before = status(ShardReport("s-0", 1, busy_ms=5_000), ShardReport("s-1", 2, busy_ms=100))
    now = status(ShardReport("s-0", 1, busy_ms=6_000), ShardReport("s-1", 3, busy_ms=9_500))
    assert line(before, now)["BusyShare"] == 95  # the process of s-1 is a new one


def test_a_process_that_is_too_busy_to_report_counts_as_busy() -> None:
    times = [0.0]
    kept = WorkerStatus(lambda: times[0])
    kept.report(ShardReport("s-0", 1, busy_ms=500))
    before = Sample(0, kept.snapshot(), Histogram())
    times[0] = 10.0
    kept.busy(ShardBusy("s-0", 1))
    document = json.loads(
        emf_line(before, Sample(10_000, kept.snapshot(), Histogram()), stack="s", worker="w")
    )
    assert document["BusyShare"] == 100


def test_the_percentile_of_flushes_is_that_of_the_last_ones() -> None:
    slow, fast = Histogram(), Histogram()
    for _ in range(100):
        slow.add(5_000)
        fast.add(20)
    before = status(ShardReport("s-0", 1, flushes=slow.counts))
    now = status(ShardReport("s-0", 1, flushes=slow.merge([fast]).counts))
    assert 19 <= line(before, now)["FlushP99"] <= 22
    assert "FlushP99" not in line(now, now)


def test_a_restart_is_counted_with_its_cause() -> None:
    now = status()
    now.restarted("out_of_memory")
    document = line(status(), now)
    assert (document["Restarts"], document["RestartsOutOfMemory"]) == (1, 1)
    assert "RestartsOutOfMemory" not in line(now, now)


def test_what_a_worker_without_a_shard_does_not_know_is_left_out() -> None:
    document = line(status(), status())
    names = {metric["Name"] for metric in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert not {"Lag", "BusyShare", "ChildMemory"} & names


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    section = DOCS.read_text().partition("## CloudWatch")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", section, flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == emf.GAUGES.keys() | emf.COUNTS.keys() | emf.LAKE.keys()


def test_a_last_line_is_written_when_the_worker_stops() -> None:
    output = io.BytesIO()
    with metrics_logged(status(), output, stack="s", worker=lambda: "w", every_s=60):
        pass
    (only,) = output.getvalue().splitlines()
    assert json.loads(only)["worker"] == "w"


def test_a_process_reports_how_long_it_was_at_work() -> None:
    activity = Activity(lambda _: None)
    activity.began(10.0)
    activity.ended(12.0)
    activity.ended(20.0)
    activity.began(30.0)
    assert activity.busy_s(31.5) == 3.5
    stats = ShardStats("s-0", lambda: 0, lambda _: None)
    stats.busy_s = activity.busy_s
    stats.send_due(32.0, force=True)
    assert stats.report.busy_ms == 4_000
