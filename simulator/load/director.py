"""Runs a scenario: starts a process for each fleet, cuts its power, and collects its status.

The director owns processes and nothing else. It kills a fleet's process without warning when the
plan says so, and starts another one, which goes on with the same spools.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from ingest.histogram import Histogram
from simulator.errors import FleetError
from simulator.load.fleet import Status
from simulator.load.fleet_process import Job
from simulator.load.transport import StreamTarget
from simulator.scenario import Event, Fleet, Scenario, plan
from simulator.verification.ledger import Ledger

SAMPLE_S: Final = 1.0
DRAIN_S: Final = 120.0
LINE_BYTES: Final = 1 << 26


@dataclass(frozen=True)
class Setup:
    """Where a scenario runs: identities and spools on disk, the ledger, and the stream when
    the broker is left out. ``names`` are each fleet's devices."""

    devices_dir: Path
    spools: Path
    ledger: Path
    names: Mapping[str, Sequence[str]]
    stream: StreamTarget | None = None


@dataclass
class FleetProgress:
    """One fleet so far: ``over`` has the counts of its processes that have ended, ``status`` the
    newest of the one that runs."""

    fleet: Fleet
    status: Status = field(default_factory=Status)
    over: Status = field(default_factory=Status)
    acks: Histogram = field(default_factory=Histogram)
    incarnation: int = 0
    up: bool = False
    notices: dict[str, None] = field(default_factory=dict)

    def total(self, name: str) -> Any:
        """A count over all incarnations."""
        return getattr(self.over, name) + getattr(self.status, name)

    def retire(self) -> None:
        """The process has ended: add its counts to ``over``."""
        for name in ("connections", "taken", "refused", "sent", "acked", "cpu_s"):
            setattr(self.over, name, self.total(name))
        self.acks.add_counts(self.status.acks)
        self.over.rss_kb = max(self.over.rss_kb, self.status.rss_kb)
        waiting, dropped = self.status.waiting, self.status.dropped
        self.status = Status(waiting=waiting, dropped=dropped)

    def latency(self) -> Histogram:
        """From the hand-over of a message to its acknowledgement."""
        merged = Histogram(self.acks.counts)
        merged.add_counts(self.status.acks)
        return merged


@dataclass(frozen=True)
class Sample:
    """All fleets at one moment; ``at`` in s from the start."""

    at: float
    connected: int
    taken: int
    acked: int
    waiting: int
    ack_ms: Mapping[str, float | None]
    extra: Mapping[str, Any]


class Director:
    """One run of a scenario; ``extra`` gives each sample more facts, of the worker for example."""

    def __init__(
        self,
        scenario: Scenario,
        setup: Setup,
        *,
        seed: int,
        stopping: Callable[[], bool] = lambda: False,
        extra: Callable[[], Mapping[str, Any]] = dict,
        drain_s: float = DRAIN_S,
    ) -> None:
        self.scenario = scenario
        self.setup = setup
        self.seed = seed
        self._stopping = stopping
        self._extra = extra
        self._drain_s = drain_s
        self.fleets = {fleet.name: FleetProgress(fleet) for fleet in scenario.fleets}
        self.samples: list[Sample] = []
        self.started_at = 0.0
        self.power_cuts = 0
        self._acks_seen: Mapping[int, int] = {}
        self.on_sample: Callable[[], None] = lambda: None
        """Called after each sample."""

    def elapsed(self) -> float:
        """Seconds since the start; negative before it."""
        return time.time() - self.started_at if self.started_at else 0.0

    async def run(self) -> None:
        """Run it to the end, and drain.

        :raises FleetError: when a fleet's process ends on its own.
        """
        self.started_at = time.time() + 1.0
        sampling = asyncio.create_task(self._sample())
        fleets = [asyncio.create_task(self._fleet(run)) for run in self.fleets.values()]
        try:
            await asyncio.gather(*fleets)
        finally:
            for task in [*fleets, sampling]:
                task.cancel()
            await asyncio.gather(*fleets, sampling, return_exceptions=True)
            self._take_sample()

    async def _fleet(self, run: FleetProgress) -> None:
        cuts = [e for e in plan(run.fleet, self.seed) if e.kind == "power_cut"]
        for cut in cuts:
            if self._stopping():
                break
            await self._incarnation(run, cut)
            await asyncio.sleep(cut.seconds)
        await self._incarnation(run, None)

    async def _incarnation(self, run: FleetProgress, cut: Event | None) -> None:
        """One process, until its power is cut or its work is done."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulator.load.fleet_process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, limit=LINE_BYTES, env=_environment(),
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        run.incarnation += 1
        run.up = True
        errors = asyncio.create_task(process.stderr.read())
        try:
            process.stdin.write(msgspec.json.encode(self._job(run)) + b"\n")
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            reading = asyncio.create_task(self._read(run, process))
            if cut is not None and await self._until(cut.at, reading):
                process.kill()
                self.power_cuts += 1
                with Ledger.join(self.setup.ledger, lambda: time.time_ns() // 1_000_000) as ledger:
                    ledger.fault("power_cut", run.fleet.name)
            elif cut is None:
                await self._to_the_end(run, process, reading)
            await reading
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            run.up = False
            done = run.status.done
            text = (await errors).decode(errors="replace").strip()
            run.retire()
        if cut is None and not done and not self._gave_up(run):
            raise FleetError(
                f"the process of fleet {run.fleet.name} ended: {text.splitlines()[-1:] or 'silent'}"
            )
        if done:
            run.over.done = True

    def _gave_up(self, run: FleetProgress) -> bool:
        return self._stopping() or self.elapsed() > run.fleet.seconds + self._drain_s

    async def _until(self, at: float, reading: asyncio.Task[None]) -> bool:
        """Wait until a time; whether the fleet still runs then."""
        while self.elapsed() < at and not self._stopping() and not reading.done():
            await asyncio.wait([reading], timeout=min(0.2, max(0.0, at - self.elapsed())))
        return not self._stopping() and not reading.done()

    async def _to_the_end(
        self, run: FleetProgress, process: asyncio.subprocess.Process, reading: asyncio.Task[None]
    ) -> None:
        """Let it run and drain; tell it to finish early when the user wants to stop, and kill it
        when it takes too long."""
        asked_to_finish = False
        deadline = run.fleet.seconds + self._drain_s
        while not reading.done():
            await asyncio.wait([reading], timeout=0.2)
            if self._stopping() and not asked_to_finish:
                asked_to_finish, deadline = True, self.elapsed() + self._drain_s
                assert process.stdin is not None
                with contextlib.suppress(ConnectionError):
                    process.stdin.write(b"finish\n")
            if self.elapsed() > deadline:
                process.kill()
                return

    async def _read(self, run: FleetProgress, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            with contextlib.suppress(msgspec.MsgspecError):  # the line that a kill cut off
                run.status = msgspec.json.decode(line, type=Status)
                run.notices.update(dict.fromkeys(run.status.notices))
                if run.status.done:
                    run.over.numbers = run.status.numbers

    def _job(self, run: FleetProgress) -> Job:
        setup, name = self.setup, run.fleet.name
        others = [n for fleet, names in setup.names.items() if fleet != name for n in names]
        mine = list(setup.names[name])
        return Job(
            fleet=run.fleet, seed=self.seed, incarnation=run.incarnation,
            started_at=self.started_at, devices_dir=str(setup.devices_dir), names=mine,
            spools=str(setup.spools), ledger=str(setup.ledger),
            victims=(others or mine)[:50] if len(others or mine) > 1 else [],
            stream=setup.stream,
        )  # fmt: skip

    async def _sample(self) -> None:
        while True:
            self._take_sample()
            self.on_sample()
            await asyncio.sleep(SAMPLE_S)

    def _take_sample(self) -> None:
        runs = self.fleets.values()
        merged = Histogram()
        for run in runs:
            merged.add_counts(run.latency().counts)
        seen, self._acks_seen = self._acks_seen, merged.counts
        fresh = Histogram({b: n - seen.get(b, 0) for b, n in merged.counts.items()})
        self.samples.append(
            Sample(
                at=round(max(0.0, self.elapsed()), 2),
                connected=sum(run.status.connected for run in runs),
                taken=sum(run.total("taken") for run in runs),
                acked=sum(run.total("acked") for run in runs),
                waiting=sum(run.status.waiting for run in runs),
                ack_ms={"p50": fresh.percentile(0.5), "p99": fresh.percentile(0.99)},
                extra=self._extra(),
            )
        )


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}
