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
        self._failure: str | None = None
        self._in_flight = 0
        self._since = clock()
        self._reported_at = -repeat_s
        self._connections = 0

    def on_connected(self, count: int) -> None:
        """The device is connected, for the ``count``-th time."""
        self._failure = None
        self._since = self._clock()
        if count != self._connections:
            self._connections = count
            self._on_event(Connected(count))

    def on_failure(self, reason: str) -> None:
        """The device cannot connect, or is refused: reported at once, unless a report was made
        within ``repeat_s``. The newest reason is in the next report."""
        if self._failure is None:
            self._since = self._clock()
        self._failure = reason
        self.check()

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
        """Report an outage, unless a report was made within ``repeat_s``."""
        if self._due_s() > 0:
            return
        if self._failure is not None:
            self._report(self._failure)
        elif self._in_flight and self._clock() - self._since >= self._repeat_s:
            self._report(SILENT)

    async def run(self) -> None:
        """Check when the next report may be due, until cancelled."""
        while True:
            due_s = self._due_s()
            await asyncio.sleep(due_s if due_s > 0 else self._repeat_s)
            self.check()

    def _due_s(self) -> float:
        return self._reported_at + self._repeat_s - self._clock()

    def _report(self, reason: str) -> None:
        now = self._clock()
        self._reported_at = now
        self._on_event(Offline(reason, now - self._since, len(self._spool)))
