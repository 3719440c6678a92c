"""Eventually consistent reads: for a while after a write they may see the item as it was.

Source: DynamoDB developer guide, "DynamoDB read consistency". How long a replica lags behind is
not published ("within one second or less" in older editions): here log-normal, median 10 ms,
99th percentile 200 ms, at most 1 s.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

from infra.emulator.profile import Profile
from infra.emulator.world import World

LAG_P50_S: Final = 0.010
LAG_P99_S: Final = 0.200
LAG_MAX_S: Final = 1.0
_SIGMA: Final = math.log(LAG_P99_S / LAG_P50_S) / 2.3263478740408408


class _Write(NamedTuple):
    """A write that not every replica has: until when, and the item before it."""

    until: float
    hash_key: Any
    sort_key: Any
    before: Any


class Replicas:
    """Remembers recent writes, and shows a table without them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._recent: dict[str, deque[_Write]] = {}
        world.on_change(self._follow)

    def _follow(self, profile: Profile) -> None:
        self._recent.clear()
        self._factor = profile.staleness
        self._chance = random.Random(f"{profile.seed}/replicas")

    def written(self, table: Any, hash_key: Any, sort_key: Any, before: Any) -> None:
        """A write happens now; ``before`` is the item that it replaces, or ``None``."""
        if not self._factor:
            return
        lag = LAG_P50_S * math.exp(_SIGMA * self._chance.gauss(0.0, 1.0))
        until = self._world.clock() + min(LAG_MAX_S, lag * self._factor)
        recent = self._recent.setdefault(table["TableId"], deque())
        recent.append(_Write(until, hash_key, sort_key, before))

    @contextmanager
    def seen(self, table: Any, *, consistent: bool) -> Iterator[None]:
        """The table as a reader sees it. Nothing else may run meanwhile."""
        with self.all_seen([] if consistent else [table]):
            yield

    @contextmanager
    def all_seen(self, tables: list[Any]) -> Iterator[None]:
        """As :meth:`seen`, of several tables."""
        with ExitStack() as undo:
            for table in tables if self._recent else ():
                self._rewind(table, undo)
            yield

    def _rewind(self, table: Any, undo: ExitStack) -> None:
        """Take recent writes back, newest first; ``undo`` puts them in again in their order."""
        now = self._world.clock()
        recent = self._recent.get(table["TableId"])
        if not recent:
            return
        while recent and recent[0].until <= now:
            recent.popleft()
        visible = set()
        for write in reversed(recent):
            key = (write.hash_key, write.sort_key)
            if write.until <= now:
                visible.add(key)
            elif key not in visible:  # a replica that has a later write has this one too
                current = table["items"].get(write.hash_key, {}).get(write.sort_key)
                _put(table, write.hash_key, write.sort_key, write.before)
                undo.callback(_put, table, write.hash_key, write.sort_key, current)


def _put(table: Any, hash_key: Any, sort_key: Any, item: Any) -> None:
    if item is not None:
        table["items"].setdefault(hash_key, {})[sort_key] = item
        return
    partition = table["items"].get(hash_key)
    if partition is not None:
        partition.pop(sort_key, None)
        if not partition:
            del table["items"][hash_key]
