"""Pace: how often a device takes a reading, changeable while it waits."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable


class Pace:
    """Lets a caller through once every ``interval_s`` seconds; 0 does not hold it up."""

    def __init__(
        self, interval_s: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._changed = asyncio.Event()
        self._last = -math.inf

    @property
    def interval_s(self) -> float:
        """Least seconds between two turns; setting it counts from the last turn, at once."""
        return self._interval_s

    @interval_s.setter
    def interval_s(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._changed.set()

    async def turn(self) -> None:
        """Return when it is time."""
        while (rest := self._last + self._interval_s - self._clock()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._changed.wait()
        self._last = self._clock()
