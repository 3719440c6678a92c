"""Waits between attempts at a call that a service refuses because it is busy."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from consumers.exceptions import GaveUpError

BASE_S: Final = 0.05
LONGEST_S: Final = 5.0
GIVE_UP_S: Final = 120.0
"""How long one write is tried: longer than a healthy service throttles or fails over, and shorter
than the KCL waits for a child (``child_timeout_s``)."""


class Backoff:
    """Waits between attempts at one piece of work: exponential, with full jitter."""

    def __init__(
        self,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self._attempts = 0
        self._started: float | None = None

    def wait(self, what: str) -> None:
        """Wait before the next attempt.

        :raises GaveUpError: when ``what`` has been failing for too long.
        """
        now = self._clock()
        if self._started is None:
            self._started = now
        elif now - self._started > GIVE_UP_S:
            raise GaveUpError(f"{what}, for {now - self._started:.0f} s and {self._attempts} tries")
        self._attempts += 1
        self._sleep(self._jitter() * min(LONGEST_S, BASE_S * 2**self._attempts))

    def progressed(self) -> None:
        """An attempt succeeded: the next wait is short again."""
        self._attempts = 0
        self._started = None
