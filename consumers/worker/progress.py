"""Whether a daemon works on every shard that it should, by the lease table. Pure.

A daemon that runs can fail to in two ways that no restart of anybody else mends:

* it is **without a shard** whose lease it holds: nobody else works on that shard either;
* it **assigns no leases**, though it is the leader, or nobody is: free leases stay free.

One that hands over nothing is found by the lag of its shards, see
:meth:`consumers.worker.status.WorkerStatus`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from consumers.kcl.leases import Lease

MISSING: Final = "shard_missing"
UNASSIGNED: Final = "shards_unassigned"


class Patience(NamedTuple):
    """How long (s) each may last before the daemon is restarted: longer than a child takes to
    start, counted from the newest child that did (a small machine starts many one after the other),
    and longer than a dead leader's lock lasts (120 s)."""

    missing: float = 60.0
    unassigned: float = 180.0


class _Seen(NamedTuple):
    """What the lease table showed: shards to be at work on, and since when (monotonic, s) each is
    so; :data:`UNASSIGNED` since when leases wait to be assigned."""

    wanted: frozenset[str]
    since: dict[str, float]


class Progress:
    """Follows one life of a daemon; every ``now`` is monotonic (s). The lease table may be read in
    another thread than the one that asks."""

    def __init__(self, worker_id: str, leases: int, patience: Patience | None = None) -> None:
        """``leases`` is how many the worker takes at most."""
        self._worker_id = worker_id
        self._most = leases
        self._patience = patience or Patience()
        self._seen = _Seen(frozenset(), {})
        self._looked = False
        self._working: frozenset[str] | None = None
        self._started_at = -math.inf

    def saw(self, leases: Collection[Lease], leader: Callable[[], str], now: float) -> None:
        """Take a reading of the lease table. ``leader`` is asked only when a lease is free."""
        self._looked = True
        mine = held_by(self._worker_id, leases)
        lasting = set(mine)
        free = any(not lease.owner and not lease.ended for lease in leases)
        if free and len(mine) < self._most and leader() in ("", self._worker_id):
            lasting.add(UNASSIGNED)
        before = self._seen.since
        self._seen = _Seen(frozenset(mine), {name: before.get(name, now) for name in lasting})

    def restart_cause(self, working: Collection[str], now: float) -> str | None:
        """Why the daemon must be restarted, or ``None``; ``working`` are the shards that have
        reported under it."""
        if self._working is not None and not self._working.issuperset(working):
            self._started_at = now
        self._working = frozenset(working)
        wanted, since = self._seen
        patience = self._patience.missing
        for shard in wanted.difference(working):
            if now - max(since[shard], self._started_at) > patience:
                return MISSING
        if now - since.get(UNASSIGNED, now) > self._patience.unassigned:
            return UNASSIGNED
        return None

    def not_ready(self, working: Collection[str]) -> str:
        """Why the worker is not ready, in words; empty when it is."""
        if not self._looked:
            return "the lease table was not read yet"
        wanted, since = self._seen
        if missing := sorted(wanted - set(working)):
            return f"no word yet of {', '.join(missing[:5])}"
        if UNASSIGNED in since:
            return "leases of this application wait to be assigned"
        return ""


def held_by(worker_id: str, leases: Collection[Lease]) -> set[str]:
    """Shards that the worker must be at work on: it holds their leases, and no parent of them
    has records left."""
    unfinished = {lease.shard for lease in leases if not lease.ended}
    return {
        lease.shard
        for lease in leases
        if lease.owner == worker_id and not lease.ended and not lease.parents & unfinished
    }
