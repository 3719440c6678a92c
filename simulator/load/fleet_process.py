"""One fleet of a scenario, in a process of its own: ``python -m simulator.load.fleet_process``.

The first line of standard input is the :class:`Job`; after it, ``finish`` asks for the end (take no
more readings, send what waits), and the end of the input ends the process at once. Standard output
has a :class:`Status` a line, a few a second. It may be killed at any time: the next process with
the same job, one ``incarnation`` later, goes on with the spools that this one left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from devices import identity
from devices.batch import BatchLimits
from devices.errors import SpoolFullError
from devices.events import Event as DeviceEvent
from devices.identity import DeviceConfig, Identity
from devices.spool.client import SpooledClient
from devices.spool.spool import Spool, SpoolLimits
from ingest.histogram import Histogram
from simulator.load.faulty_device import ChaoticClient, Misbehaviour, Recorder
from simulator.load.replay import Replay
from simulator.load.stream_link import StreamClient, StreamSink, StreamTarget
from simulator.scenario import Event, Fleet, plan
from simulator.signals import reader
from simulator.verification.ledger import Ledger

CONNECTS_AT_ONCE: Final = 8
STATUS_S: Final = 0.5
BATCH_BYTES: Final = 120 * 1024
STORM_S: Final = (0.0, 2.0)


class Job(msgspec.Struct, frozen=True):
    """What a fleet's process is to do. Times in s since the epoch."""

    fleet: Fleet
    seed: int
    incarnation: int
    started_at: float
    devices_dir: str
    names: list[str]
    spools: str
    ledger: str
    victims: list[str]
    stream: StreamTarget | None = None


class Status(msgspec.Struct):
    """What a process says of itself since it began, and what its spools hold."""

    connected: int = 0
    connections: int = 0
    taken: int = 0
    refused: int = 0
    sent: int = 0
    acked: int = 0
    waiting: int = 0
    dropped: int = 0
    cpu_s: float = 0.0
    rss_kb: int = 0
    acks: dict[int, int] = {}
    numbers: dict[str, tuple[str, int]] = {}
    """At the end: each device's boot, and the numbers that it has used of it."""
    notices: list[str] = []
    done: bool = False


class Member:
    """One device of the fleet."""

    def __init__(self, process: FleetProcess, index: int, name: str) -> None:
        job, fleet = process.job, process.job.fleet
        who = self._identity(job, name)
        self.name = name
        self._process = process
        self._fleet = fleet
        self._chance = random.Random(f"{job.seed}/{name}/{job.incarnation}")
        self._replay = process.replay.of(index) if process.replay else None
        self._read = reader(job.seed, name, fleet.type) if self._replay is None else None
        skew = random.Random(f"{job.seed}/{name}/skew").uniform(*fleet.faults.clock_skew_s)
        self.skew_ms = round(skew * 1000)
        self.jump_ms = 0
        self._last_ts = 0
        self.spool = Spool(
            Path(job.spools) / name, now=process.now_ms, limits=SpoolLimits(sync=False),
            on_event=process.on_event,
        )  # fmt: skip
        recorder = Recorder(process.ledger, process.acks.add, time.monotonic)
        wrong = Misbehaviour(
            fleet.faults, self._chance, process.ledger, recorder, name,
            who.config.rule, [] if job.stream else [v for v in job.victims if v != name],
        )  # fmt: skip
        make: Any = partial(ChaoticClient, misbehaviour=wrong, slots=process.slots)
        if process.sink is not None:
            make = partial(StreamClient, misbehaviour=wrong, slots=process.slots, sink=process.sink)
        self.client = SpooledClient(
            who, self.spool, limits=BatchLimits(fleet.batch, BATCH_BYTES, age_s=3600.0),
            observer=recorder, order=fleet.order, on_event=process.on_event, client=make,
        )  # fmt: skip

    @staticmethod
    def _identity(job: Job, name: str) -> Identity:
        if job.stream is None:
            return identity.load(Path(job.devices_dir), name)
        config = DeviceConfig(name, "", 0, job.stream.rule, None, "", job.fleet.type, "")
        return Identity(config, Path(job.spools) / name)

    async def live(self) -> None:
        """Take readings until the fleet's time is over, or it is asked to finish."""
        process, fleet = self._process, self._fleet
        self.client.start()
        due = process.elapsed() + self._chance.random() / max(fleet.rate(process.elapsed()), 0.2)
        while (at := process.elapsed()) < fleet.seconds and not process.finishing.is_set():
            if at < due:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(due - at, 0.5)):
                        await process.finishing.wait()
                continue
            rate = fleet.rate(at)
            if rate <= 0:
                due = at + 0.1
                continue
            self._take(fleet.batch)
            spread = self._chance.uniform(-0.5, 0.5) * fleet.jitter
            due = max(due, at - 1.0) + (1 + spread) / rate

    def _take(self, count: int) -> None:
        """One message's readings; a full spool refuses, which is counted."""
        for _ in range(count):
            now = self._process.now_ms() + self.skew_ms + self.jump_ms
            self._last_ts = max(self._last_ts + 1, now) if not self.jump_ms else now
            metrics: Any
            if self._read is not None:
                metrics = self._read(self._last_ts)
            else:
                assert self._replay is not None
                metrics = next(self._replay)
            try:
                self.client.add(self._last_ts, metrics)
                self._process.status.taken += 1
            except SpoolFullError as error:
                self._process.status.refused += 1
                self._process.notice(str(error))

    async def happen(self, event: Event) -> None:
        """Something of the plan happens to this device."""
        self._process.ledger.fault(event.kind, self.name)
        if event.kind == "clock_jump":
            self.jump_ms = round(event.by * 1000)
            await asyncio.sleep(event.seconds)
            self.jump_ms = 0
            self._last_ts = 0
            return
        await self.client.pause()
        seconds = event.seconds or self._chance.uniform(*STORM_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.finishing.wait()
        self.client.start()


class FleetProcess:
    """All devices of a fleet on one event loop."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.ledger = Ledger.join(Path(job.ledger), self.now_ms)
        self.slots = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self.finishing = asyncio.Event()
        self.acks = Histogram()
        self.status = Status()
        self.replay = Replay.load(Path(job.fleet.replay)) if job.fleet.replay else None
        self.sink = StreamSink(job.stream) if job.stream else None
        self._notices: dict[str, None] = {}
        self.members = [Member(self, index, name) for index, name in enumerate(job.names)]

    @staticmethod
    def now_ms() -> int:
        """The machine's clock."""
        return time.time_ns() // 1_000_000

    def elapsed(self) -> float:
        """Seconds since the scenario began."""
        return time.time() - self.job.started_at

    def on_event(self, event: DeviceEvent) -> None:
        """Keep warnings of a device."""
        if event.level >= logging.WARNING:
            self.notice(str(event))

    def notice(self, sentence: str) -> None:
        """Remember a sentence for the director, each once and not too many."""
        if len(self._notices) < 5:
            self._notices[sentence] = None

    async def run(self) -> None:
        """Live, then send what waits."""
        lives = [asyncio.create_task(member.live()) for member in self.members]
        happenings = asyncio.create_task(self._happen())
        await asyncio.gather(*lives)
        happenings.cancel()
        await asyncio.gather(happenings, return_exceptions=True)
        await asyncio.gather(*(member.client.drained() for member in self.members))
        await asyncio.gather(*(member.client.close() for member in self.members))
        self.status.done = True
        self.status.numbers = {m.name: (m.spool.boot, m.spool.seq) for m in self.members}

    async def _happen(self) -> None:
        """What the plan has in store, from here on."""
        running: set[asyncio.Task[None]] = set()
        events = [e for e in plan(self.job.fleet, self.job.seed) if e.kind != "power_cut"]
        try:
            for event in events:
                if event.at < self.elapsed() - STATUS_S and self.job.incarnation > 1:
                    continue  # another incarnation saw it
                await asyncio.sleep(max(0.0, event.at - self.elapsed()))
                for index in event.devices:
                    running.add(asyncio.create_task(self.members[index].happen(event)))
            await asyncio.Event().wait()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for member in self.members:  # whoever was offline comes back
                if member.client.offline:
                    member.client.start()

    def report(self) -> Status:
        """The newest status."""
        members = self.members
        status = self.status
        clients = [m.client.client for m in members]
        status.connected = sum(c is not None and c.connections > 0 for c in clients)
        status.connections = sum(m.client.connections for m in members)
        status.sent, status.acked = self.ledger.sent, self.ledger.acked
        status.waiting = sum(len(m.spool) for m in members)
        status.dropped = sum(m.spool.dropped for m in members)
        status.cpu_s = time.process_time()
        status.rss_kb = _rss_kb()
        status.acks = dict(self.acks.counts)
        status.notices = list(self._notices)
        return status


def _rss_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _say(status: Status) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(status) + b"\n")
    sys.stdout.buffer.flush()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer)
    job = msgspec.json.decode(await lines.readline(), type=Job)
    process = FleetProcess(job)

    async def obey() -> None:
        while line := await lines.readline():
            if line.strip() == b"finish":
                process.finishing.set()
        os._exit(1)  # whoever started this is gone

    async def tell() -> None:
        while True:
            await asyncio.sleep(STATUS_S)
            _say(process.report())

    beside = [asyncio.create_task(obey()), asyncio.create_task(tell())]
    await process.run()
    for task in beside:
        task.cancel()
    _say(process.report())
    process.ledger.close()


if __name__ == "__main__":
    asyncio.run(_main())
