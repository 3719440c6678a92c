"""A KCL daemon that runs and does not do its work, and a start that AWS makes slow."""

from __future__ import annotations

import os
import signal
import time

from consumers.worker.status import CHILD, WorkerStatus
from infra.emulator.profile import STRICT, Profile
from tests.chaos.faults import on_own_site
from tests.chaos.faults.processes import working
from tests.chaos.site import Site

INDEX_S = 3600.0
START_S = 60.0
SHARDS = 16
KILLS = 3
CALM_S = 5.0
OTHERS_S = 2.0
"""How much longer (s) than in calm another shard may be silent; a process reports every second."""


@on_own_site()
def an_index_that_is_slow(site: Site) -> None:
    """An index that is added to a table takes an hour: a first start does not wait for one,
    because the lease table comes with its index."""
    site.emulator.become(Profile(index_s=INDEX_S))
    try:
        with site.load(12):
            worker = site.start_worker()
            status = worker.worker.status
            site.until(lambda: len(worker.children()) == 2, START_S, "a child for each shard")
            site.until(lambda: status.snapshot()["durable"], START_S, "a window")
            site.until(lambda: not status.not_ready(), 30, "a worker that is ready")
        assert status.restarts == 0, "the daemon was restarted"
    finally:
        site.emulator.become(STRICT)


@on_own_site()
def a_silent_daemon(site: Site) -> None:
    """SIGSTOP of the JVM, for good: the worker is soon not ready, the daemon is restarted by its
    supervisor, and the worker is ready again."""
    with site.load(20):
        worker = working(site)
        status = worker.worker.status
        site.until(lambda: not status.not_ready(), 30, "a worker that is ready")
        os.kill(worker.daemon, signal.SIGSTOP)
        site.until(status.not_ready, 30, "a worker that is not ready")
        site.until(lambda: status.restarts, 90, "a restart of the daemon")
        site.until(lambda: not status.not_ready(), 90, "a worker that is ready again")
    assert not status.not_alive()


@on_own_site(shards=SHARDS)
def sixteen_shards_and_one_bad_child(site: Site) -> None:
    """The process of one shard is killed again and again, at any moment and in the middle of a
    batch: it gets successors under the same daemon, and the other fifteen shards go on."""
    with site.load(40, devices=64, rate=2):
        worker = working(site, SHARDS)
        status, daemon = worker.worker.status, worker.daemon
        site.until(lambda: len(status.working()) == SHARDS, 180, "a word of each shard")
        bad = min(status.working())
        calm = max(_silences(site, status, bad, CALM_S))
        silent = 0.0
        for _ in range(KILLS):
            pid = site.until(lambda: _killed(_process_of(status, bad)), 30, "a process to kill")
            deadline = time.monotonic() + 30
            while _process_of(status, bad) == pid:
                assert time.monotonic() < deadline, "no successor"
                silent = max(silent, *_silences(site, status, bad, 0.1))
        site.arm("decoded", "crash")  # of whichever shard comes there first
        before = status.restarts
        site.until(lambda: status.restarts > before, 30, "a successor of that one")
        assert worker.daemon == daemon, "the daemon was restarted"
        assert set(status.restarts_by_cause()) == {CHILD}, status.restarts_by_cause()
        site.said.append(f"others were silent for {silent:.1f} s, {calm:.1f} s in calm")
        assert silent <= calm + OTHERS_S, site.said[-1]


def _silences(site: Site, status: WorkerStatus, bad: str, seconds: float) -> list[float]:
    """How long (s) the other shards were silent, looked at for a while."""
    found: list[float] = []
    ends = time.monotonic() + seconds

    def look() -> bool:
        found.append(max(s for name, s in status.working().items() if name != bad))
        return time.monotonic() >= ends

    site.until(look, seconds + 5, "the end of a look")
    return found


def _killed(pid: int) -> int:
    """The process that was killed; 0 for one that had ended, of which the last report is shown."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return pid


def _process_of(status: WorkerStatus, shard: str) -> int:
    shards = status.snapshot()["shards"]
    return next(int(one["pid"]) for one in shards if one["shard"] == shard)
