"""A shard that stands still: it must be seen while it lasts, and a closed connection must not be
its cause."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Any, Final

from consumers.worker.prometheus import exposition
from ingest.tables import status as worker_report
from tests.chaos.faults import on_own_site
from tests.chaos.faults.processes import working
from tests.chaos.proxy import Close
from tests.chaos.site import RunningWorker, Site

VISIBLE_S: Final = 5.0
LONGEST_STALL_MS: Final = 2_000
"""Longer than the same site stood still before."""
DISPATCHES_MS: Final = 3_000
"""A shard's consumer begins in three rounds of the KCL's dispatcher, one a second."""
SERVICES: Final = ("kinesis", "dynamodb", "s3")


def _gauge(worker: RunningWorker) -> float:
    """The greatest lag (s) on the metrics page."""
    status = worker.worker.status
    lines = exposition(status.snapshot(), status.latency()).decode().splitlines()
    lags = [line for line in lines if line.startswith("penstock_shard_lag_seconds{")]
    return max((float(line.rsplit(" ", 1)[1]) for line in lags), default=0.0)


def _reported(site: Site) -> float:
    """The greatest lag (s) in the status table, from which the page shows it."""
    found: Any = site.dynamodb.scan(TableName=site.settings.status_table)["Items"]
    reports = [worker_report.read(item) for item in found if worker_report.is_report(item)]
    return max(((one["lag_ms"] or 0) / 1000 for one in reports), default=0.0)


@on_own_site()
def the_jvm_is_frozen(site: Site) -> None:
    """SIGSTOP of the daemon alone, under load: a stall of 5 s is visible within 5 s, in the status,
    on the metrics page and for the dashboard. The daemon is restarted, and the lag is gone."""
    with site.load(60):
        worker = working(site)
        status = worker.worker.status
        site.until(lambda: status.snapshot()["lag_ms"] == 0, 30, "an end of the backlog")
        frozen_daemon = worker.daemon
        os.kill(frozen_daemon, signal.SIGSTOP)
        try:
            frozen = time.monotonic()
            site.until(lambda: (status.snapshot()["lag_ms"] or 0) >= 3_000, VISIBLE_S, "a lag")
            left = 5.0 + VISIBLE_S - (time.monotonic() - frozen)
            site.until(lambda: status.snapshot()["longest_stall_ms"] >= 5_000, left, "a stall")
            assert status.snapshot()["lag_ms"] >= 5_000
            site.until(lambda: _gauge(worker) >= 5.0, VISIBLE_S, "the gauge")
            site.until(lambda: _reported(site) >= 5.0, VISIBLE_S, "the report")
            site.until(lambda: status.restarts, 40, "a restart of the daemon")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(frozen_daemon, signal.SIGCONT)
        site.until(lambda: status.snapshot()["lag_ms"] == 0, 60, "an end of the lag")


def _connections_end(site: Site, how: Close, services: Sequence[str] = SERVICES) -> None:
    """End connections under load, and compare the longest stall with that of the same site before:
    a busy machine stalls by itself."""
    site.proxy.on_call = lambda call: None  # the check of each checkpoint takes up to 1.5 s
    with site.load(40, rate=10):
        worker = working(site)
        status = worker.worker.status
        records = status.snapshot()["records"]
        site.until(lambda: status.snapshot()["records"] > records + 500, 60, "an ordinary load")
        before, children = status.snapshot(), set(worker.children())
        site.proxy.close_connections(how, services)
        site.until(lambda: all(site.proxy.closed[one] >= 3 for one in services), 60, str(how))
    site.proxy.close_connections(None)
    site.until(lambda: len(worker.children()) >= len(children), 30, "a child for each shard")
    lost, after = len(set(worker.children()) - children), status.snapshot()
    assert after["restarts"] == before["restarts"], "the daemon was restarted"
    stall_ms, at_most_ms = after["longest_stall_ms"], before["longest_stall_ms"] + LONGEST_STALL_MS
    if lost:
        assert how is Close.DURING, f"{lost} leases were lost"
        at_most_ms += site.settings.failover_ms + DISPATCHES_MS
    assert stall_ms <= at_most_ms, (
        f"a shard stood still for {stall_ms} ms, at most {at_most_ms}; {lost} leases were lost"
    )


@on_own_site(attempt_timeout_s=1.0)
def connections_end_without_an_answer(site: Site) -> None:
    """Every connection to Kinesis gets GOAWAY with its 20th request, no answer to it, and stays
    open: with a time-out for an attempt, no shard stands still for more than 2 s."""
    _connections_end(site, Close.GOAWAY, ("kinesis",))


@on_own_site()
def connections_are_closed_between_requests(site: Site) -> None:
    """Every connection to Kinesis, DynamoDB and S3 ends after 20 requests, between an answer and
    the next request: no shard stands still for more than 2 s."""
    _connections_end(site, Close.BETWEEN)


@on_own_site()
def connections_are_closed_in_mid_request(site: Site) -> None:
    """Every connection ends with its 20th request, which is done or not: no shard stands still for
    more than 2 s, except where a checkpoint is written and its answer is lost. The SDK sends it
    again, DynamoDB refuses the repeat, and the KCL gives up the lease, which it finds again."""
    _connections_end(site, Close.DURING)
