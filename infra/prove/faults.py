"""What is done to the pipeline while devices send: its worker is killed, a shard is split.

Each fault returns when it has healed without intervention: every open shard has a process again and
the lag is small. What devices do wrong comes from the scenario (:mod:`simulator.scenario`).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from consumers.kcl.leases import read_leases
from consumers.worker.supervisor import Worker
from infra.target import Target

HEAL_S: Final = 120.0
LAG_MS: Final = 5_000
_LOOK_S: Final = 0.5


class Fault(NamedTuple):
    """One fault: when (as a share of the load's time), its name, and what it does in words."""

    at: float
    name: str
    what: str


PLAN: Final = (
    Fault(0.2, "worker_killed",
          "SIGKILL to the worker's daemon and to every shard's process, at once, under load"),
    Fault(0.5, "shard_split",
          "a shard is split in two under load: its devices' records go on in two others"),
)  # fmt: skip


class Site(NamedTuple):
    """What faults work on."""

    target: Target
    worker: Worker


def open_shards(target: Target) -> list[Any]:
    """The shards that take records, in the order of their hash keys."""
    pages = target.client("kinesis").get_paginator("list_shards").paginate(
        StreamName=target.settings.stream
    )  # fmt: skip
    found = [
        shard
        for page in pages
        for shard in page["Shards"]
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    ]
    return sorted(found, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))


def inflict(
    site: Site, fault: Fault, elapsed: Callable[[], float], seconds: float
) -> dict[str, Any]:
    """Do what a fault does; how it went, for the report. ``elapsed`` is the load's time (s), which
    is to last so many ``seconds``."""
    at, started = elapsed(), time.monotonic()
    actions = {"worker_killed": _kill_worker, "shard_split": _split_shard}
    try:
        detail, healed = actions[fault.name](site)
        ok = _until(healed)
    except Exception as error:  # noqa: BLE001 - a fault that cannot be made is a result too
        detail, ok = f"{type(error).__name__}: {error}", False
    if at > seconds:  # the fault before it took long to heal
        detail += "; the load had ended by then"
    return {
        "name": fault.name,
        "what": fault.what,
        "at_s": round(at, 1),
        "healed": ok,
        "healed_s": round(time.monotonic() - started, 1) if ok else None,
        "detail": detail,
    }


def _kill_worker(site: Site) -> tuple[str, Callable[[], bool]]:
    worker = site.worker
    before, restarts = _pids(worker), worker.status.restarts
    doomed = {worker.pid, worker.fork_server_pid, *before} - {0}
    for pid in doomed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def healed() -> bool:
        restarted = worker.status.restarts > restarts and not _pids(worker) & before
        return restarted and _is_at_work(site)

    return f"{len(doomed)} processes killed; the supervisor started them again", healed


def _split_shard(site: Site) -> tuple[str, Callable[[], bool]]:
    settings, kinesis = site.target.settings, site.target.client("kinesis")
    parent = open_shards(site.target)[0]
    low, high = (int(parent["HashKeyRange"][k]) for k in ("StartingHashKey", "EndingHashKey"))
    kinesis.split_shard(
        StreamName=settings.stream,
        ShardToSplit=parent["ShardId"],
        NewStartingHashKey=str((low + high) // 2 + 1),
    )
    dynamodb = site.target.client("dynamodb")

    def healed() -> bool:
        leases = read_leases(dynamodb, settings.application)
        ended = any(one.shard == parent["ShardId"] and one.ended for one in leases)
        return ended and _is_at_work(site)

    return f"{parent['ShardId']} was read to its end, and two others follow it", healed


def _pids(worker: Worker) -> set[int]:
    found = (shard["pid"] for shard in worker.status.snapshot()["shards"])
    return {pid for pid in found if pid}


def _is_at_work(site: Site) -> bool:
    """Whether every open shard has a process and nothing is far behind."""
    status = site.worker.status
    shards = {shard["ShardId"] for shard in open_shards(site.target)}
    return shards <= status.working().keys() and (status.snapshot()["lag_ms"] or 0) < LAG_MS


def _until(healed: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + HEAL_S
    while time.monotonic() < deadline:
        if healed():
            return True
        time.sleep(_LOOK_S)
    return False


class FaultThread:
    """Does what the plan says beside the load. ``elapsed`` is the load's time (s), ``seconds`` its
    length. Use as a context manager: its end waits for the last fault to heal."""

    def __init__(self, site: Site, elapsed: Callable[[], float], seconds: float) -> None:
        self.found: list[dict[str, Any]] = []
        self._site = site
        self._elapsed = elapsed
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> FaultThread:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        for fault in PLAN:
            while (left := fault.at * self._seconds - self._elapsed()) > 0:
                if self._stopping.wait(min(left, 1.0)):
                    return
            self.found.append(inflict(self._site, fault, self._elapsed, self._seconds))
