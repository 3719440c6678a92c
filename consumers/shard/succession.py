"""When a shard's process is stuck, and whether one that died gets a successor. No I/O and no clock;
:mod:`consumers.shard.fork_server` kills and forks."""

from __future__ import annotations

from typing import Final

DELAYS_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Waits before the successors of processes that die soon; after these there is none."""
LONG_LIFE_S: Final = 30.0
FROZEN_S: Final = 15.0
"""A process tells every two seconds that it runs, whatever it is doing."""


class Successions:
    """The processes of one shard, one after the other; times are monotonic (s)."""

    def __init__(self) -> None:
        self._began = 0.0
        self._short_lives = 0

    def began(self, now: float) -> None:
        """A process begins."""
        self._began = now

    def delay_s(self, now: float) -> float | None:
        """The process died: how long to wait before its successor; ``None`` when too many died
        quickly: the daemon is restarted instead."""
        if now - self._began > LONG_LIFE_S:
            self._short_lives = 0
        if self._short_lives == len(DELAYS_S):
            return None
        self._short_lives += 1
        return DELAYS_S[self._short_lives - 1]


class Watch:
    """One process, as its journal shows it."""

    def __init__(self, now: float = 0.0) -> None:
        self._began = now
        self._since = now
        self._progress: tuple[int, int] | None = None

    def is_stuck(
        self, done: int | None, beat: tuple[float, int], now: float, hung_s: float
    ) -> bool:
        """Whether the process must be ended, so that it can have a successor.

        ``done`` is the journal position that is answered so far, ``None`` if the daemon waits for
        nothing; ``beat`` is the last heartbeat: its time, and how many steps were done. Frozen: no
        heartbeat for ``FROZEN_S`` while the daemon waits. Hung: heartbeats, but no step for
        ``hung_s``. An action whose writes are throttled takes long, and is not hung.
        """
        progress = None if done is None else (done, beat[1])
        if progress is None or progress != self._progress:
            self._progress, self._since = progress, now
            return False
        frozen = now - max(beat[0], self._since, self._began) > FROZEN_S
        return frozen or now - self._since > hung_s
