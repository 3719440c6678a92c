"""Keeps the newest snapshot of the hot tables, and wakes those who wait for the next one.

One reader serves all viewers: the number of open pages does not change how often DynamoDB is
read. A viewer holds at most one older snapshot and has no queue, so a slow viewer costs nothing:
it skips snapshots.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from dashboard import alerts, queries
from dashboard.answers import Alert, Device, Report
from dashboard.fleet import Snapshot, Sparks, summary
from dashboard.trends import Trends
from dashboard.watching import Watched, newest_windows, with_newest
from ingest.acts.log import ActLog
from ingest.commands import store
from ingest.tables import alarm_acts
from ingest.tables.alarms import OVERLAP_MS
from ingest.tiers import Tier

log: Final = logging.getLogger(__name__)

FASTEST_S: Final = 1.0
LIVE_S: Final = 0.3
"""How often the current windows of watched devices are read, between two reads of everything."""
SHARE: Final = 0.2
"""The largest share of its time that the feed reads. It reads 10,000 devices every few seconds."""

_READERS: Final = 8


@dataclass(frozen=True)
class Tables:
    """The names of the hot tables."""

    windows: str
    devices: str
    status: str
    alerts: str = ""
    """Empty when the deployment has no alerts."""


class Writer(NamedTuple):
    """What writes acknowledgements and mutes, and the log that each of them is recorded in."""

    alarms: alarm_acts.Client
    acts: ActLog


class Shadows(NamedTuple):
    """What reads commands to devices, and what sends them with the log that each is recorded in;
    without these two they are refused."""

    reads: store.Reader
    sends: store.Client | None = None
    acts: ActLog | None = None


class Feed:
    """Reads the roster and the workers' reports in a loop.

    ``error`` is the text of the last failure, empty after a success; ``reads`` counts successes,
    ``read_s`` is how long the last attempt took; ``viewers`` is how many live streams are open.

    :param client: what calls DynamoDB.
    :param now_ms: the clock, ms since the Unix epoch.
    :param fastest_s: the least time between two reads.
    :param writer: what writes acknowledgements and mutes; without one they are refused.
    :param shadows: what reads and sends commands; without it they do not exist.
    """

    def __init__(
        self,
        client: queries.Client,
        tables: Tables,
        *,
        now_ms: Callable[[], int],
        fastest_s: float = FASTEST_S,
        writer: Writer | None = None,
        shadows: Shadows | None = None,
    ) -> None:
        self.client = client
        self.shadows = shadows
        self.writer = writer
        self.tables = tables
        self.now_ms = now_ms
        self.snapshot = Snapshot()
        self.sparks = Sparks()
        self.trends = Trends()
        self.error = ""
        self.finest: Tier | None = None
        self._watched = Watched()
        self._roster: list[Device] = []
        self._workers: list[Report] = []
        self._units: dict[str, str] = {}
        self.reads = 0
        self.read_s = 0.0
        self._due = -math.inf
        self.pool = ThreadPoolExecutor(_READERS, "dashboard")
        self._fastest_s = fastest_s
        self.viewers = 0
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the loop; returns after the first attempt."""
        started = time.monotonic()
        await self._refresh(self._read)
        self.read_s = time.monotonic() - started
        self._tasks = [asyncio.create_task(self._run())]
        if self.tables.alerts:
            self._tasks.append(asyncio.create_task(self._follow_alerts()))

    async def stop(self) -> None:
        """End the loop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.pool.shutdown(wait=False, cancel_futures=True)

    async def refresh(self) -> None:
        """Read what is due, once; for a caller in whose process no loop runs. Two requests that
        overlap may both read."""
        started = time.monotonic()
        if started >= self._due:
            await self._refresh(self._read)
            self.read_s = time.monotonic() - started
            self._due = started + self._pause_s
        elif self._watches():
            await self._refresh(self._read_watched)

    @property
    def _pause_s(self) -> float:
        """From the end of one read of everything to the beginning of the next (s)."""
        return max(self._fastest_s, self.read_s * (1 / SHARE - 1))

    def watch(self, devices: Iterable[str]) -> None:
        """Show these devices live, for a minute."""
        self._watched.add(devices, self.now_ms() / 1000)

    def live(self, rows: list[Device]) -> list[Device]:
        """The rows, those of watched devices as their current windows have them."""
        now_ms = self.now_ms()
        watched = self._watched.devices(now_ms / 1000)
        if self.finest is None or not watched:
            return rows
        found = newest_windows(self.client, self.tables.windows, watched, self.finest, now_ms)
        return [with_newest(row, found.get(row["device"], ()), now_ms) for row in rows]

    async def after(self, version: int, timeout_s: float) -> Snapshot | None:
        """The newest snapshot that is later than ``version``, or ``None`` after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.snapshot.version <= version:
                    await self._changed.wait()
        except TimeoutError:
            return None
        return self.snapshot

    async def call(self, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Run a blocking query in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, lambda: work(*arguments, **named))

    async def _run(self) -> None:
        while True:
            due = time.monotonic() + self._pause_s
            while (left := due - time.monotonic()) > LIVE_S:
                await asyncio.sleep(LIVE_S if self._watches() else left)
                if self._watches() and time.monotonic() < due:
                    await self._refresh(self._read_watched)
            await asyncio.sleep(max(0.0, left))
            started = time.monotonic()
            await self._refresh(self._read)
            self.read_s = time.monotonic() - started

    async def _follow_alerts(self) -> None:
        """Put what changes in alerts into snapshots, while somebody looks. A failure costs that a
        page sees a change later, when it asks by itself."""
        while True:
            await asyncio.sleep(self._fastest_s)
            if not self.viewers:
                continue
            since_ms = self.now_ms() - OVERLAP_MS
            try:
                found = await self.call(
                    alerts.changed_since, self.client, self.tables.alerts, since_ms
                )
            except Exception as error:  # noqa: BLE001 - said, and tried again
                log.warning("cannot read which alerts changed: %s", error)
                continue
            self._tell(found)

    def _tell(self, changed: Mapping[str, Sequence[Alert]]) -> None:
        """Put what changed in alerts into a snapshot."""
        if changed != self.snapshot.alerts:
            version = self.snapshot.version + 1
            self.snapshot = replace(self.snapshot, version=version, alerts=changed)
            self._wake()

    def _watches(self) -> bool:
        return bool(self._watched.devices(self.now_ms() / 1000))

    async def _refresh(self, read: Callable[[], list[Device]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.run_in_executor(None, read)
        except Exception as error:  # noqa: BLE001 - shown to viewers, and tried again
            self.error = f"DynamoDB does not answer: {error}"
            self._wake()
            return
        self.error = ""
        self.reads += 1
        self.sparks.add(rows)
        self.snapshot = Snapshot(
            version=self.snapshot.version + 1,
            read=self.reads,
            at=self.now_ms(),
            devices={row["device"]: row for row in rows},
            workers=self._workers,
            alerts=self.snapshot.alerts,
            units=self._units,
        )
        if self.trends.is_due(self.snapshot.at):
            self.trends.add(summary(self.snapshot))
        self._wake()

    def _read(self) -> list[Device]:
        """Everything, and what was read of watched devices since."""
        self._mark()
        self._roster = queries.roster(self.client, self.tables.devices, self.pool)
        self._workers, self._units = queries.workers(self.client, self.tables.status)
        return self.live(self._roster)

    def _read_watched(self) -> list[Device]:
        """The rows as they were read last, with the current windows of watched devices."""
        self._mark()
        return self.live(self._roster)

    def _mark(self) -> None:
        """Mark what viewers look at. A failure costs freshness only: the roster is shown."""
        now_s = self.now_ms() / 1000
        if not self._watched.is_due(now_s):
            return
        try:
            self._watched.mark(self.client, self.tables.status, now_s)
        except Exception as error:  # noqa: BLE001 - said, and tried again
            log.warning("cannot mark which devices are watched: %s", error)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
