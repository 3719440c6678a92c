"""How soon the finest windows are written where freshness is live: at once while there is time to
spare, and no window more often than its interval."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.hot.optimistic import Outcome, Statement
from consumers.shard.processor import REST
from ingest.tiers import Tier
from tests.harness.shard import NOW, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

INTERVAL_S = 0.5
LIVE = (Tier("1m", INTERVAL_S, 86400), Tier("1h", 30.0, 864000))


class SlowTables(MemoryDynamo):
    """Tables whose every call takes a while, in virtual time."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        self.site.now += self.site.call_s
        return super().execute(statements)


class Site:
    """A worker whose freshness is live, in virtual time. It is asked for its work as often as the
    KCL asks, four times a second or at each record."""

    def __init__(self, call_s: float = 0.0) -> None:
        self.now, self.call_s = 0.0, call_s
        self.tables, self.shard = SlowTables(self), Shard()
        self.worker = open_worker(self.shard, self.tables, MemoryS3(), lambda: self.now, tiers=LIVE)
        self.given = self.sent = 0

    def send(self, device: str = "d") -> None:
        at = NOW + int(self.now * 1000)
        self.shard.put(device, payload("boot-one", self.sent, [(at, {"t": 1.0})]), at, at)
        self.sent += 1

    def process(self) -> None:
        self.worker.process(self.shard.records[self.given :])
        self.given = len(self.shard.records)

    def stored(self) -> int:
        """Readings of the minutes' windows that are durable."""
        windows = self.tables.tables.get("windows", {})
        return sum(
            int(item["n"]["N"]) for (_, name), item in windows.items() if name.startswith("1m")
        )

    def writes(self) -> int:
        """How often the minutes' windows were written."""
        windows = self.tables.tables.get("windows", {})
        return sum(
            int(item["ver"]["N"]) for (_, name), item in windows.items() if name.startswith("1m")
        )


def test_a_reading_is_durable_at_once_when_its_window_was_not_written_for_an_interval() -> None:
    site = Site()
    for _ in range(20):
        site.now += INTERVAL_S + 0.05
        site.send()
        site.process()
        assert site.stored() == site.sent


def test_a_window_that_changes_often_is_written_once_an_interval() -> None:
    site = Site()
    for step in range(200):
        site.now = 0.05 * step
        site.send()
        site.process()
    assert site.sent - site.stored() <= INTERVAL_S / 0.05 + 1
    assert site.writes() <= 200 * 0.05 / INTERVAL_S * 4 / 3 + 1  # slots are a quarter of it wide


def test_a_worker_without_time_to_spare_folds_the_more_records_together() -> None:
    slow, fast = Site(call_s=0.05), Site()
    for site in (slow, fast):
        for _ in range(100):
            site.now += 0.1
            site.send(f"d{site.sent % 50}")
            site.process()
    assert fast.writes() == 100
    assert slow.writes() > 0
    assert slow.tables.calls < fast.tables.calls / 2
    assert 1 / (1 + REST) < 0.2, "a worker at rest is idle most of the time"
