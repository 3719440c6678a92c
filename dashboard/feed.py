"""Keeps the newest snapshot of the hot tables, and wakes those who wait for the next one.

One reader serves all viewers: the number of open pages does not change how often DynamoDB is
read. A viewer holds at most one older snapshot and has no queue, so a slow viewer costs nothing:
it skips snapshots.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from dashboard import queries
from dashboard.answers import Device, Report
from dashboard.fleet import Snapshot, Sparks
from dashboard.watching import Watched, newest_windows, with_newest
from ingest.tiers import Tier

log: Final = logging.getLogger(__name__)

FASTEST_S: Final = 1.0
SHARE: Final = 0.2
"""The largest share of its time that the feed reads. It reads 10,000 devices every few seconds."""

_READERS: Final = 8


@dataclass(frozen=True)
class Tables:
    """The names of the hot tables."""

    windows: str
    devices: str
    status: str


class Feed:
    """Reads the roster and the workers' reports in a loop.

    ``error`` is the text of the last failure, empty after a success; ``reads`` counts successes,
    ``read_s`` is how long the last attempt took.

    :param client: what calls DynamoDB.
    :param now_ms: the clock, ms since the Unix epoch.
    :param fastest_s: the least time between two reads.
    """

    def __init__(
        self,
        client: queries.Client,
        tables: Tables,
        *,
        now_ms: Callable[[], int],
        fastest_s: float = FASTEST_S,
    ) -> None:
        self.client = client
        self.tables = tables
        self.now_ms = now_ms
        self.snapshot = Snapshot()
        self.sparks = Sparks()
        self.error = ""
        self.finest: Tier | None = None
        self._watched = Watched()
        self.reads = 0
        self.read_s = 0.0
        self.pool = ThreadPoolExecutor(_READERS, "dashboard")
        self._fastest_s = fastest_s
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the loop; returns after the first attempt."""
        await self._refresh()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the loop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.pool.shutdown(wait=False, cancel_futures=True)

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
            await asyncio.sleep(max(self._fastest_s, self.read_s * (1 / SHARE - 1)))
            await self._refresh()

    async def _refresh(self) -> None:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            rows, workers = await loop.run_in_executor(None, self._read)
        except Exception as error:  # noqa: BLE001 - shown to viewers, and tried again
            self.error = f"DynamoDB does not answer: {error}"
            self.read_s = time.monotonic() - started
            self._wake()
            return
        self.error = ""
        self.read_s = time.monotonic() - started
        self.reads += 1
        self.sparks.add(rows)
        self.snapshot = Snapshot(
            version=self.snapshot.version + 1,
            at=self.now_ms(),
            devices={row["device"]: row for row in rows},
            workers=workers,
        )
        self._wake()

    def _read(self) -> tuple[list[Device], list[Report]]:
        self._mark()
        rows = self.live(queries.roster(self.client, self.tables.devices, self.pool))
        return rows, queries.workers(self.client, self.tables.status)

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
