"""A KCL daemon that runs and does not do its work, and a start that AWS makes slow."""

from __future__ import annotations

import os
import signal

from infra.emulator.profile import STRICT, Profile
from tests.chaos.faults import on_own_site
from tests.chaos.faults.processes import working
from tests.chaos.site import Site

INDEX_S = 3600.0
START_S = 60.0


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
