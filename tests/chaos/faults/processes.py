"""Processes that die, freeze, come back and take over."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Final

from consumers.failpoints import Point
from tests.chaos.faults import on_own_site
from tests.chaos.plan import Fault, Rule
from tests.chaos.site import RunningWorker, Site
from tests.harness.processes import alive

FAILOVER_S: Final = 4.0
"""Longer than leases live without a renewal: twice ``failover_ms`` and a margin."""


def working(site: Site, shards: int = 2) -> RunningWorker:
    """Start a worker; return when it has a child at work on every shard and windows are there."""
    worker = site.start_worker()
    site.until(lambda: len(worker.children()) >= shards, 90, "a child for each shard")
    site.until(lambda: worker.worker.status.snapshot()["durable"], 60, "a window")
    return worker


def _slow_writes(seconds: float, times: int = 6) -> Rule:
    """The next hot writes take their time."""
    return Rule("dynamodb", Fault.DELAY, "BatchExecuteStatement", seconds=seconds, times=times)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def until_restarted(site: Site, worker: RunningWorker, restarts: int = 1) -> None:
    """Wait for the daemon's restart, the first or a later one."""
    site.until(lambda: worker.worker.status.restarts >= restarts, 60, "a restart of the daemon")


@on_own_site()
def a_child_is_killed_mid_flush(site: Site) -> None:
    """SIGKILL while its hot writes are on their way."""
    with site.load(30):
        worker = working(site)
        plan = site.spoil(_slow_writes(1.5))
        site.until(lambda: not plan.idle(), 20, "a flush")
        _kill(worker.children()[0])
        until_restarted(site, worker)


@on_own_site()
def the_jvm_alone_is_killed(site: Site) -> None:
    """SIGKILL of the daemon in mid-flush: no orphan may go on writing."""
    with site.load(30):
        worker = working(site)
        children = worker.children()
        plan = site.spoil(_slow_writes(2.0))
        site.until(lambda: not plan.idle(), 20, "a flush")
        _kill(worker.daemon)
        site.until(lambda: not any(map(alive, children)), 1.5, "the end of its children")
        until_restarted(site, worker)


def _dies_at(site: Site, worker: RunningWorker, point: Point, restarts: int) -> None:
    site.arm(point, "crash")
    site.until(lambda: site.struck(point), 30, f"the failpoint {point}")
    until_restarted(site, worker, restarts)


@on_own_site()
def a_child_dies_between_window_batches(site: Site) -> None:
    """More windows than one call takes, and a crash between two calls."""
    with site.load(18, devices=70, rate=1):
        _dies_at(site, working(site), "between_batches", 1)


@on_own_site()
def a_child_dies_between_segment_and_checkpoint(site: Site) -> None:
    """The object is there and the checkpoint does not know; twice, at two points."""
    with site.load(30):
        worker = working(site)
        _dies_at(site, worker, "after_put", 1)
        site.until(worker.children, 60, "a new child")
        _dies_at(site, worker, "before_checkpoint", 2)


@on_own_site(shards=4)
def a_frozen_worker_comes_back_as_a_zombie(site: Site) -> None:
    """SIGSTOP of daemon and children past failover; another worker takes over; SIGCONT. (Not of
    the KCL's leader: its lock would keep leases unassigned for 2 minutes.)"""
    with site.load(40):
        leader = working(site, 4)
        zombie = site.start_worker()
        site.until(zombie.children, 60, "children of the second worker")
        site.until(lambda: zombie.worker.status.snapshot()["durable"], 30, "its windows")
        plan = site.spoil(_slow_writes(1.0))
        site.until(lambda: not plan.idle(), 20, "a flush")  # frozen with writes on their way
        frozen = [zombie.daemon, zombie.worker.fork_server_pid, *zombie.children()]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            site.until(lambda: len(leader.children()) >= 4, 60, "the other worker's children")
        finally:
            for pid in frozen:  # on a busy machine, its supervisor has ended it by now
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@on_own_site(child_timeout_s=10)
def a_frozen_child_is_timed_out(site: Site) -> None:
    """SIGSTOP of one child: it must not hold its lease for ever."""
    with site.load(22):
        worker = working(site)
        frozen = worker.children()[0]
        os.kill(frozen, signal.SIGSTOP)
        until_restarted(site, worker)
        assert not alive(frozen)


@on_own_site(child_timeout_s=10)
def a_hung_child_is_timed_out(site: Site) -> None:
    """A batch that never ends."""
    with site.load(22):
        worker = working(site)
        site.arm("decoded", "hang")
        site.until(lambda: site.struck("decoded"), 20, "the failpoint")
        until_restarted(site, worker)


@on_own_site()
def an_exception_that_nobody_foresaw(site: Site) -> None:
    """In the commit, and so not of any record: the process ends, and its work is done again."""
    with site.load(16):
        worker = working(site)
        site.arm("before_put", "raise")
        site.until(lambda: site.struck("before_put"), 20, "the failpoint")
        until_restarted(site, worker)


@on_own_site(shards=4)
def a_second_worker_joins(site: Site) -> None:
    """Leases move under load, with nobody dying."""
    with site.load(24):
        working(site, 4)
        site.start_worker()
        site.until(
            lambda: len({lease["owner"] for lease in site.leases().values()} - {""}) == 2,
            60,
            "leases of the second worker",
        )


@on_own_site(shards=4)
def a_rolling_restart_of_two_workers(site: Site) -> None:
    """Each is stopped in order and replaced, one after the other, under load."""
    with site.load(40):
        first = working(site, 4)
        second = site.start_worker()
        site.until(second.children, 60, "children of the second worker")
        for old in (first, second):
            old.end()
            fresh = site.start_worker()
            site.until(fresh.children, 150, "children of its replacement")


@on_own_site()
def a_child_dies_when_asked_to_shut_down(site: Site) -> None:
    """The worker is stopped, a child crashes instead of committing, and it is started again."""
    with site.load(16):
        worker = working(site)
        site.arm("shutdown_requested", "crash")
        worker.end()
        assert site.struck("shutdown_requested")
        site.start_worker()


@on_own_site()
def the_lease_table_is_emptied(site: Site) -> None:
    """All checkpoints are lost: the stream is read from its beginning, and nothing changes."""
    with site.load(14):
        worker = working(site)
    site.drain()
    worker.end()
    before = site.report().archive["objects"]
    site.dynamodb.delete_table(TableName=site.settings.application)
    site.create_leases()
    again = site.start_worker()
    site.until(again.children, 60, "children of the new worker")
    site.drain()
    assert site.report().archive["objects"] == before


@on_own_site(persist=True)
def the_embedded_aws_is_restarted_with_its_state(site: Site) -> None:
    """AWS is away for seconds; devices and worker find it again."""
    with site.load(20):
        working(site)
        site.restart_emulator()
