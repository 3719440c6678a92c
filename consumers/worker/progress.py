"""Whether a worker makes progress: is it ready, and must its daemon be restarted? Pure.

Three things end the work of a daemon that still runs:

* it is **silent**: its children get nothing to do from it, or nothing comes from them through it.
  A KCL that polls hands over a batch several times a second, an empty one too;
* it is **without a shard** that it holds the lease of, so nobody else works on that shard either;
* it **assigns no leases**, though it is the leader, or nobody is: free ones stay free.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from consumers.kcl.leases import Lease, Leases

SILENT: Final = "silent"
MISSING: Final = "shard_missing"
UNASSIGNED: Final = "shards_unassigned"
STALE_S: Final = 15.0
"""How old the newest word of a shard may be while its worker counts as ready."""


class Patience(NamedTuple):
    """How long (s) each of them may last before the daemon is restarted.

    ``silent`` is longer than a service that the KCL waits for takes to fail; ``missing`` is longer
    than the start of a child; ``unassigned`` is longer than a dead leader's lock lasts (120 s).
    """

    silent: float = 60.0
    missing: float = 60.0
    unassigned: float = 180.0


class Heard(NamedTuple):
    """The last word of a shard's child: when it came, and since when the child had been waiting
    for its daemon by then (monotonic, s); ``None`` while it was at work."""

    at: float
    idle_since: float | None


class Progress:
    """Follows one life of a daemon; every ``now`` is monotonic (s)."""

    def __init__(self, worker_id: str, leases: int, patience: Patience, now: float) -> None:
        """``leases`` is how many it takes at most."""
        self._worker_id = worker_id
        self._most = leases
        self._patience = patience
        self._started = now
        self._since: dict[str, float] = {}
        self._wanted: frozenset[str] = frozenset()

    def saw(self, leases: Leases, now: float) -> None:
        """Take a reading of the lease table."""
        mine, free = held_by(self._worker_id, leases.leases), free_of(leases.leases)
        responsible = leases.leader in ("", self._worker_id)
        self._wanted = frozenset(mine)
        stuck = set(mine)
        if free and responsible and len(mine) < self._most:
            stuck.add(UNASSIGNED)
        self._since = {name: self._since.get(name, now) for name in stuck}

    def restart_cause(self, heard: Mapping[str, Heard], now: float) -> str | None:
        """Why the daemon must be restarted, or ``None``; ``heard`` is by shard."""
        if heard and self._silent_s(heard, now) > self._patience.silent:
            return SILENT
        for shard in self._wanted - heard.keys():
            if now - self._since[shard] > self._patience.missing:
                return MISSING
        if now - self._since.get(UNASSIGNED, now) > self._patience.unassigned:
            return UNASSIGNED
        return None

    def not_ready(self, heard: Mapping[str, Heard], now: float) -> str:
        """Why the worker is not ready, in words; empty when it is."""
        if missing := sorted(self._wanted - heard.keys()):
            return f"no word yet of {', '.join(missing[:5])}"
        old = sorted(shard for shard, one in heard.items() if now - one.at > STALE_S)
        if old:
            return f"no word for {STALE_S:.0f} s of {', '.join(old[:5])}"
        if heard and self._silent_s(heard, now) > STALE_S:
            return f"the KCL daemon has been silent for {self._silent_s(heard, now):.0f} s"
        if UNASSIGNED in self._since:
            return "leases of this application wait to be assigned"
        return ""

    def _silent_s(self, heard: Mapping[str, Heard], now: float) -> float:
        """How long nothing has come from the daemon, to or through any child."""
        return now - max(
            self._started,
            *(one.at if one.idle_since is None else one.idle_since for one in heard.values()),
        )


def held_by(worker_id: str, leases: Collection[Lease]) -> set[str]:
    """Shards that the worker must be at work on: it holds their leases, and no parent of them
    has records left."""
    unfinished = {lease.shard for lease in leases if not lease.ended}
    return {
        lease.shard
        for lease in leases
        if lease.owner == worker_id and not lease.ended and not lease.parents & unfinished
    }


def free_of(leases: Collection[Lease]) -> set[str]:
    """Shards that nobody holds and somebody should."""
    return {lease.shard for lease in leases if not lease.owner and not lease.ended}
