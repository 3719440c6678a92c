"""What a shard's report says of its hot store."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.hot.figures import PendingSince, figures
from consumers.hot.optimistic import Outcome, Statement
from consumers.shard.report import ShardStats
from ingest.tiers import Tier
from tests.harness.shard import NOW, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3


def test_the_oldest_change_is_known_until_it_is_durable() -> None:
    since = PendingSince()
    assert since.oldest((), 1_000) is None
    assert since.oldest({4}, 2_000) == 2_000
    assert since.oldest({4, 5}, 3_000) == 2_000
    assert since.oldest({5}, 4_000) == 3_000
    assert since.oldest((), 5_000) is None
    assert since.oldest({6}, 9_000) == 9_000


class Throttling(MemoryDynamo):
    """Refuses the first call."""

    refused = False

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        if not self.refused:
            self.refused = True
            return [Outcome.THROTTLED] * len(statements)
        return super().execute(statements)


def test_a_report_tells_what_waits_and_what_was_written_and_refused() -> None:
    shard, times = Shard(), [100.0]
    tiers = (Tier("10s", 30.0, 3600), Tier("1m", 5.0, 86400))
    worker = open_worker(shard, Throttling(), MemoryS3(), lambda: times[0], tiers=tiers)
    stats = worker._stats
    stats.hot = lambda: figures(worker._hot)
    shard.put("d", payload("boot-0001", 0, [(NOW, {"t": 1.0}), (NOW, {"t": 2.0})]), NOW, NOW)
    worker.process(shard.records)
    times[0] = 101.1
    worker.process([])
    stats.send_due(times[0], force=True)
    report = stats.report
    assert (report.pending_readings, report.pending_windows, report.open_windows) == (4, 2, 2)
    assert (report.items_written, report.unflushed_since) == (1, NOW)  # the device's latest state
    assert report.throttled == 1
    worker.commit()
    stats.send_due(times[0], force=True)
    assert (report.pending_readings, report.pending_windows) == (0, 0)
    assert (report.items_written, report.unflushed_since) == (3, None)
    assert sum(report.flushes.values()) == 2


def test_a_report_without_a_hot_store_has_no_figures_of_one() -> None:
    stats = ShardStats("s-0", lambda: 0, lambda _: None)
    stats.send_due(1.0, force=True)
    assert (stats.report.items_written, stats.report.unflushed_since) == (0, None)
