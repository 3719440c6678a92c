"""What AWS refuses or takes time for: full items, a cold table, calls that take long."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from itertools import islice

from devices.batch import Outgoing
from infra.emulator.limits.capacity import partition_of
from infra.emulator.profile import STRICT, Profile
from ingest.settings import Settings
from simulator.verification.ledger import OK
from tests.chaos.faults import on_own_site
from tests.chaos.faults.devices import message, now_ms
from tests.chaos.site import Expected, RunningWorker, Site
from tests.harness.shard import payload

HOSTILE = "dev-hostile"
FIRST, SECOND = 3_000, 5_000
"""Readings of the two halves. Each begins a range of ids in one of two windows; a window is full
with some 2,900."""
A_MESSAGE = 1_000
EVICTED_S = 6.0
"""Of other load, in which the windows of a silent device leave the worker's memory."""

COLD = Profile(name="cold", table_writes=4_000, partition_writes=1_000)
PARTITIONS = 4
DEVICES, MINUTES, METRICS = 1_500, 2, 64
"""Of the load on a cold table: an item with 64 metrics with long names takes 10 write units."""

SLOW = Profile(name="slow", latency=5.0)
"""Batches of DynamoDB take 50 ms at the median and 200 ms at the 99th percentile."""
SLOW_S = 60.0


@on_own_site()
def a_window_that_outgrows_its_item(site: Site) -> None:
    """A device scatters its readings over two windows in two halves, and its windows leave the
    worker's memory in between: they are closed as merged, its readings beyond are archived as
    ``overflow``, and other devices go on."""
    finest = site.settings.tiers[0].size_ms
    start = now_ms() // finest * finest - 4 * finest
    worker = site.start_worker()
    with site.load(EVICTED_S):
        site.put(list(_scattered(start, finest, 0, FIRST)))
    with site.load(EVICTED_S):
        pass
    with site.load(EVICTED_S):
        site.put(list(_scattered(start, finest, FIRST, FIRST + SECOND)))
    assert worker.worker.status.restarts == 0, "a process died"
    left = site.drain()
    assert not left, left
    report = site.report()
    assert report.dispositions.get("overflow", 0) > SECOND // 4, report.dispositions


def _scattered(start: int, finest: int, first: int, end: int) -> Iterator[Expected]:
    """Readings that fall into two windows by turns."""
    for seq in range(first, end, A_MESSAGE):
        readings = [(start + i % 2 * finest + i // 2, float(i))
                    for i in range(seq, min(seq + A_MESSAGE, end))]  # fmt: skip
        yield HOSTILE, message("scattered", seq, readings), OK


@on_own_site()
def a_table_that_starts_cold(site: Site) -> None:
    """A new table takes 4,000 write units a second, 1,000 of them in each partition, and a backlog
    has windows for more in one of these: statements are throttled, sent again, and nothing is
    lost."""
    site.put(list(_heavy()))
    site.emulator.become(COLD)
    try:
        worker = site.start_worker()
        status = worker.worker.status
        site.until(lambda: status.snapshot()["throttled"], 180, "a throttled statement")
        left = site.drain(180)
        assert not left, left
        assert status.restarts == 0, f"processes ended: {status.restarts_by_cause()}"
    finally:
        site.emulator.become(STRICT)


def _heavy() -> Iterator[Expected]:
    """One reading a device and minute, with as many metrics as a reading may have, of devices that
    one partition holds."""
    newest = now_ms()
    names = (f"heavy-{number:05d}" for number in itertools.count())
    devices = list(islice((n for n in names if partition_of(n, PARTITIONS) == 0), DEVICES))
    for minute in range(MINUTES):
        ts = newest - (MINUTES - minute) * 60_000
        for device in devices:
            metrics = {
                f"a_metric_with_a_name_that_is_long_{n:02d}": n + 0.123 for n in range(METRICS)
            }
            body = payload("heavy-load", minute, [(ts, metrics)])
            yield device, Outgoing("heavy-load", minute, 1, body), OK


@on_own_site(failover_ms=Settings.model_fields["failover_ms"].default)
def calls_take_their_time(site: Site) -> None:
    """For a minute, a call of DynamoDB takes up to 200 ms, and the other services are as slow:
    a worker with the failover time of AWS stays ready, and nothing is restarted."""
    site.emulator.become(SLOW)
    try:
        with site.load(SLOW_S + 10, devices=12, rate=4):
            worker = site.start_worker()
            status = worker.worker.status
            site.until(lambda: not status.not_ready(), 90, "a worker that is ready")
            _stays_ready(site, worker)
        assert status.restarts == 0, "a process was restarted"
    finally:
        site.emulator.become(STRICT)


def _stays_ready(site: Site, worker: RunningWorker) -> None:
    """Look at the worker for a minute."""
    ends = time.monotonic() + SLOW_S

    def look() -> bool:
        why = worker.worker.status.not_ready()
        assert not why, why
        return time.monotonic() >= ends

    site.until(look, SLOW_S + 10, "the end of the minute")
