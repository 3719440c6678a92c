"""Lag as the worker knows it from outside the shard's process, and the longest stall."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from consumers.kcl.leases import Lease
from consumers.kcl.protocol import StreamRecord
from consumers.shard.report import Activity, ShardBusy, ShardReport, ShardStats, parse
from consumers.worker.lag import LagMonitor
from consumers.worker.status import WorkerStatus
from dashboard.fleet import lag_now

ME = "me"


def record(sequence: str, arrived_at: int) -> StreamRecord:
    return StreamRecord(b"", sequence, approximate_arrival_timestamp=arrived_at)


class FakeStream:
    """Leases, and the arrivals (ms) of each shard's records by sequence number."""

    def __init__(self) -> None:
        self.rows: dict[str, Lease] = {}
        self.arrivals: dict[str, dict[int, int]] = {}
        self.error: Exception | None = None
        self.asked: list[tuple[str, str]] = []

    def leases(self) -> list[Lease]:
        if self.error:
            raise self.error
        return list(self.rows.values())

    def waiting_since(self, shard: str, after: str) -> int | None:
        self.asked.append((shard, after))
        reached = int(after) if after.isdigit() else -1
        later = [n for n in self.arrivals.get(shard, {}) if n > reached]
        return self.arrivals[shard][min(later)] if later else None


class World:
    """A monitor under a clock (s) that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.stream = FakeStream()
        self.status = WorkerStatus(lambda: self.now)
        self.monitor = LagMonitor(
            self.status, self.stream, lambda: ME, expiry_s=30, clock=lambda: self.now,
            now_ms=lambda: round(self.now * 1000),
        )  # fmt: skip

    def lease(
        self, shard: str, owner: str, checkpoint: str = "TRIM_HORIZON", counter: int = 1
    ) -> None:
        self.stream.rows[shard] = Lease(shard, owner, counter, checkpoint)

    def reported(self, shard: str, newest: str, behind_ms: int = 0, *, lost: bool = False) -> None:
        self.status.report(
            ShardReport(shard, 7, newest=newest, behind_ms=behind_ms, lease_lost=lost)
        )

    def lags(self) -> dict[str, int | None]:
        self.monitor.round()
        return {one["shard"]: one["lag_ms"] for one in self.status.snapshot()["shards"]}


def test_a_shard_that_reports_has_the_lag_that_it_reports() -> None:
    world = World()
    world.lease("s-0", ME)
    world.reported("s-0", "5", behind_ms=1_200)
    assert world.lags() == {"s-0": 1_200}
    assert world.stream.asked == []


def test_a_silent_shard_has_the_age_of_the_oldest_record_that_it_has_not_received() -> None:
    world = World()
    world.lease("s-0", ME, "3")
    world.reported("s-0", "5")
    world.stream.arrivals["s-0"] = {4: 999_000, 5: 999_500, 6: 1_001_000, 7: 1_004_000}
    world.now += 5
    assert world.lags() == {"s-0": 4_000}
    assert world.stream.asked == [("s-0", "5")]


def test_a_silent_shard_without_a_waiting_record_has_no_lag() -> None:
    world = World()
    world.lease("s-0", ME)
    world.reported("s-0", "5")
    world.now += 3_600
    assert world.lags() == {"s-0": 0}


def test_after_its_daemon_has_ended_a_shard_s_lag_counts_from_its_checkpoint() -> None:
    """What the dead process had received and not committed is to be read again."""
    world = World()
    world.lease("s-0", ME, "3")
    world.reported("s-0", "5")
    world.stream.arrivals["s-0"] = {4: 1_000_500, 6: 1_002_000}
    world.status.daemon_ended()
    world.now += 3
    assert world.lags() == {"s-0": 2_500}


def test_a_shard_that_nobody_holds_has_a_lag_before_any_process_has_begun() -> None:
    world = World()
    world.lease("s-0", "")
    world.stream.arrivals["s-0"] = {1: 990_000}
    assert world.lags() == {"s-0": 10_000}
    assert world.status.snapshot()["shards"][0]["pid"] is None


def test_a_lease_of_another_worker_is_that_worker_s_until_it_has_expired() -> None:
    world = World()
    world.lease("s-0", "other")
    world.stream.arrivals["s-0"] = {1: 990_000}
    assert world.lags() == {}
    world.now += 20
    world.lease("s-0", "other", counter=2)  # alive
    assert world.lags() == {}
    world.now += 20
    assert world.lags() == {}
    world.now += 20
    assert world.lags() == {"s-0": 70_000}


def test_a_lost_shard_leaves_no_lag_behind() -> None:
    world = World()
    world.lease("s-0", ME)
    world.reported("s-0", "5", behind_ms=700)
    world.lease("s-0", "other", counter=2)
    world.reported("s-0", "5", behind_ms=700, lost=True)
    world.now += 6
    assert world.lags() == {"s-0": None}
    world.now += 120
    world.lease("s-0", "other", counter=3)
    assert world.lags() == {}


def test_a_shard_that_is_read_to_its_end_has_no_lag() -> None:
    world = World()
    world.lease("s-0", "", "SHARD_END")
    world.stream.arrivals["s-0"] = {1: 990_000}
    assert world.lags() == {}


def test_the_counts_of_a_shard_that_is_no_longer_listed_stay_in_the_totals() -> None:
    world = World()
    world.status.report(ShardReport("s-0", 7, records=5, durable=4, lease_lost=True))
    world.now += 120
    snapshot = world.status.snapshot()
    assert (snapshot["records"], snapshot["durable"], snapshot["shards"]) == (5, 4, [])


def test_an_aws_that_refuses_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.stream.error = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "Scan")
    for _ in range(3):
        world.now += 10
        world.monitor.round()
    assert len(caplog.records) == 1


def test_the_longest_stall_is_known_from_outside_while_it_lasts_and_afterwards() -> None:
    world = World()
    world.lease("s-0", ME)
    world.reported("s-0", "5")
    world.stream.arrivals["s-0"] = {6: 1_001_000}
    world.now += 5
    world.monitor.round()
    assert world.status.snapshot()["longest_stall_ms"] == 4_000
    world.stream.arrivals["s-0"] = {}
    world.reported("s-0", "6")
    world.monitor.round()
    assert world.status.snapshot()["longest_stall_ms"] == 4_000


def test_a_process_counts_the_longest_time_in_which_records_waited_and_no_batch_was_done() -> None:
    now = 10_000
    stats = ShardStats("s-0", lambda: now, lambda _: None)
    stats.on_batch_done([record("0", 1_000)], None)  # the start is no stall
    assert stats.report.longest_stall_ms == 0
    now = 11_000
    stats.on_batch_done([record("1", 10_900)], None)  # it waited for 100 ms
    assert stats.report.longest_stall_ms == 100
    now = 40_000
    stats.on_batch_done([], None)  # idle: nothing waited
    assert stats.report.longest_stall_ms == 100
    now = 47_000
    stats.on_batch_done([record("2", 41_000)], None)
    assert (stats.report.longest_stall_ms, stats.report.newest) == (6_000, "2")


def test_a_shard_starves_when_its_idle_process_gets_nothing_while_records_wait() -> None:
    world = World()
    world.lease("s-0", ME)
    world.reported("s-0", "5")
    world.now += 40
    world.monitor.round()
    assert world.status.starving(30) == []  # nothing waits
    world.stream.arrivals["s-0"] = {6: 1_001_000}
    world.monitor.round()
    assert world.status.starving(30) == ["s-0"]
    world.status.busy(ShardBusy("s-0", 7))
    assert world.status.starving(30) == []  # the process is at work
    world.now += 31
    assert world.status.starving(30) == []  # the lag is too old to say anything
    world.monitor.round()
    assert world.status.starving(30) == ["s-0"]
    world.status.daemon_ended()
    assert world.status.starving(30) == []


def test_a_process_tells_that_it_is_at_work_when_an_action_takes_long() -> None:
    lines: list[bytes] = []
    activity = Activity(lines.append)
    activity.shard = "s-0"
    activity.tell(10.0)
    activity.began(10.0)
    activity.tell(11.0)
    assert lines == []
    activity.tell(13.0)
    line = parse(lines[0].strip())
    assert isinstance(line, ShardBusy)
    assert line.shard == "s-0"
    activity.ended(13.0)
    activity.tell(20.0)
    assert len(lines) == 1


def test_a_worker_that_is_silent_has_a_growing_lag_on_the_page() -> None:
    assert lag_now(0, 5_000) == 0
    assert lag_now(300, 20_000) == 20_300
    assert lag_now(None, 20_000) is None
