"""Reports when readings cannot be delivered: at once, then every 30 s while that lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized
from typing import Final

from devices.events import Connected, Offline, OnEvent

REPEAT_S: Final = 30.0
SILENT: Final = "the broker acknowledges nothing"


class DeliveryMonitor:
    """What one client knows about its delivery. ``clock`` is monotonic (s)."""

    def __init__(
        self,
        clock: Callable[[], float],
        spool: Sized,
        on_event: OnEvent,
        repeat_s: float = REPEAT_S,
    ) -> None:
        self._clock = clock
        self._spool = spool
        self._on_event = on_event
        self._repeat_s = repeat_s
        self._failures: list[str] = []
        self._in_flight = 0
        self._since = clock()
        self._reported_at = -repeat_s
        self._connections = 0

    def on_connected(self, count: int) -> None:
        """The device is connected, for the ``count``-th time."""
        self._failures.clear()
        self._since = self._clock()
        if count != self._connections:
            self._connections = count
            self._on_event(Connected(count))

    def on_failure(self, reason: str) -> None:
        """The device cannot connect, or is refused. Each new reason of one outage is reported at
        once, but a connection that comes and goes at most every ``repeat_s``."""
        if reason in self._failures:
            return
        first = not self._failures
        if first:
            self._since = self._clock()
        self._failures.append(reason)
        if not first or self._clock() - self._reported_at >= self._repeat_s:
            self._report(reason)

    def on_sent(self) -> None:
        """A message was handed to the transport."""
        if self._in_flight == 0:
            self._since = self._clock()
        self._in_flight += 1

    def on_done(self, *, acknowledged: bool) -> None:
        """A message is acknowledged, or will not be."""
        self._in_flight -= 1
        if acknowledged:
            self._since = self._clock()

    def check(self) -> None:
        """Report an outage that lasts; call this every ``repeat_s``."""
        if self._failures:
            self._report(self._failures[-1])
        elif self._in_flight and self._clock() - self._since >= self._repeat_s:
            self._report(SILENT)

    async def run(self) -> None:
        """Check every ``repeat_s``, until cancelled."""
        while True:
            await asyncio.sleep(self._repeat_s)
            self.check()

    def _report(self, reason: str) -> None:
        now = self._clock()
        self._reported_at = now
        self._on_event(Offline(reason, now - self._since, len(self._spool)))
