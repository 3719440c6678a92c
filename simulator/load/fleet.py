"""The load engine: all devices of one fleet on one event loop, over any transport.

Every device takes readings when its schedule says so, sends them as messages, and does wrong what
its fleet's faults say; every message is in the ledger before it leaves. The commands run a fleet
in their own process, without spools; a scenario runs each of its fleets in a process that can be
killed, with spools.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from devices.batch import BatchLimits
from devices.errors import ConnectError, PublishRefusedError
from devices.events import Event as DeviceEvent
from devices.spool.client import SpooledClient
from devices.spool.spool import Spool, SpoolLimits
from ingest.histogram import Histogram
from simulator.load.faulty_device import Misbehaviour, Recorder
from simulator.load.obeying import Obeying
from simulator.load.replay import Replay
from simulator.load.schedule import due_times
from simulator.load.senders import DirectSender, Sender, SpooledSender
from simulator.load.sensor import sensor_of
from simulator.load.transport import Transport
from simulator.scenario import Event, Fleet, plan
from simulator.verification.ledger import Ledger

BATCH_BYTES: Final = 120 * 1024
STORM_S: Final = (0.0, 2.0)
GRACE_S: Final = 30.0
"""How much longer than its fleet's time a device may take to hand over its messages."""

_MAX_NOTICES: Final = 5
_SEEN_S: Final = 0.5
"""An event that is older than this when a fleet's process starts again has happened before."""


class Status(msgspec.Struct):
    """Counts of a fleet since its process began, and what its spools hold. ``acks`` are buckets
    of :class:`~ingest.histogram.Histogram`, of the time from the hand-over of a message to
    its acknowledgement; ``failed`` has a sentence for each device without a spool that could
    not connect or whose messages were refused."""

    connected: int = 0
    connections: int = 0
    taken: int = 0
    refused: int = 0
    sent: int = 0
    acked: int = 0
    unacknowledged: int = 0
    waiting: int = 0
    dropped: int = 0
    cpu_s: float = 0.0
    rss_kb: int = 0
    acks: dict[int, int] = {}
    numbers: dict[str, tuple[str, int]] = {}
    """At the end: each device's boot, and how many numbers it has used of it."""
    notices: list[str] = []
    failed: list[str] = []
    done: bool = False


class FleetRunner:
    """Runs one fleet. Make it on the event loop that it runs on.

    ``started_at`` is when the fleet's time began (s since 1970); ``spools`` is the folder of the
    devices' spools, without which they have none, and the fleet's faults may not take away its
    network or its power; ``incarnation`` counts the processes of the fleet, from 1; ``victims``
    are devices that it tries to publish as.
    """

    def __init__(
        self,
        fleet: Fleet,
        names: Sequence[str],
        *,
        seed: int,
        ledger: Ledger,
        transport: Transport,
        spools: Path | None = None,
        started_at: float | None = None,
        incarnation: int = 1,
        victims: Sequence[str] = (),
    ) -> None:
        """:raises ScenarioError: when the fleet's replay cannot be read.
        :raises IdentityError: when a device's identity is not there.
        :raises ValueError: when the fleet's events need spools."""
        self.fleet = fleet
        self.seed = seed
        self.ledger = ledger
        self.transport = transport
        self.spools = spools
        self.incarnation = incarnation
        self.victims = victims if transport.spoofs else ()
        self.started_at = time.time() if started_at is None else started_at
        self.acks = Histogram()
        self.failed: list[str] = []
        self.taken = self.refused = self.unacknowledged = 0
        self.finishing = asyncio.Event()
        self._events = plan(fleet, seed)
        if self._events and spools is None:
            raise ValueError(f"fleet {fleet.name} loses its network or power: it needs spools")
        self._replay = Replay.load(Path(fleet.replay)) if fleet.replay else None
        self._notices: dict[str, None] = {}
        self._done = False
        self.devices = [VirtualDevice(self, index, name) for index, name in enumerate(names)]

    def elapsed(self) -> float:
        """Seconds since the fleet's time began."""
        return time.time() - self.started_at

    def finish(self) -> None:
        """End early: take no more readings, and send what waits."""
        self.finishing.set()

    def note(self, sentence: str) -> None:
        """Keep a sentence for the report: each once, and not too many."""
        if len(self._notices) < _MAX_NOTICES:
            self._notices[sentence] = None

    def on_event(self, event: DeviceEvent) -> None:
        """Keep the warnings of a device's spool and client."""
        if event.level >= logging.WARNING:
            self.note(str(event))

    def rows_of(self, index: int) -> Iterator[dict[str, float]] | None:
        """The rows that a device replays, if the fleet replays a file."""
        return self._replay.of(index) if self._replay else None

    async def run(self) -> None:
        """Run every device to its end, and wait until what it took is acknowledged."""
        happening = asyncio.create_task(self._happen())
        await asyncio.gather(*(device.live() for device in self.devices))
        happening.cancel()
        await asyncio.gather(happening, return_exceptions=True)
        await asyncio.gather(*(device.close() for device in self.devices))
        self._done = True

    async def _happen(self) -> None:
        """The planned events, from now on. At the end every device has its network back."""
        running: set[asyncio.Task[None]] = set()
        try:
            for event in self._events:
                seen = self.incarnation > 1 and event.at < self.elapsed() - _SEEN_S
                if event.kind == "power_cut" or seen:
                    continue
                await asyncio.sleep(max(0.0, event.at - self.elapsed()))
                for index in event.devices:
                    running.add(asyncio.create_task(self.devices[index].undergo(event)))
            await asyncio.Event().wait()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for device in self.devices:
                await device.come_online()

    def status(self) -> Status:
        """The counts of this moment."""
        senders = [device.sender for device in self.devices]
        spools = [device.spool for device in self.devices if device.spool is not None]
        return Status(
            connected=sum(sender.connected for sender in senders),
            connections=sum(sender.connections for sender in senders),
            taken=self.taken,
            refused=self.refused,
            sent=self.ledger.sent,
            acked=self.ledger.acked,
            unacknowledged=self.unacknowledged,
            waiting=sum(len(spool) for spool in spools),
            dropped=sum(spool.dropped for spool in spools),
            cpu_s=time.process_time(),
            rss_kb=_rss_kb(),
            acks=dict(self.acks.counts),
            numbers=self._numbers() if self._done else {},
            notices=list(self._notices),
            failed=self.failed,
            done=self._done,
        )

    def _numbers(self) -> dict[str, tuple[str, int]]:
        spools = {device.name: device.spool for device in self.devices}
        return {name: (s.boot, s.seq) for name, s in spools.items() if s is not None}


class VirtualDevice:
    """One device of a fleet: its sensor, its schedule and its way out."""

    def __init__(self, runner: FleetRunner, index: int, name: str) -> None:
        fleet, seed = runner.fleet, runner.seed
        self.name = name
        self._runner = runner
        self._identity = runner.transport.identity(name)
        self._schedule_chance = random.Random(f"{seed}/{name}/schedule")
        self._chance = random.Random(f"{seed}/{name}/{runner.incarnation}")
        self.sensor = sensor_of(
            fleet, index, name, seed, runner.rows_of(index),
            lambda: runner.ledger.fault("outside", name),
        )  # fmt: skip
        self._recorder = Recorder(runner.ledger, runner.acks.add, time.monotonic)
        self.spool: Spool | None = None
        self._obeying: Obeying | None = None
        self._silent = False
        self.sender: Sender = self._sender()

    def _sender(self) -> Sender:
        runner, fleet = self._runner, self._runner.fleet
        limits = BatchLimits(fleet.batch, BATCH_BYTES, age_s=3600.0)
        if fleet.commands is not None and runner.spools is not None:
            self._obeying = Obeying(
                self._identity.device_id, runner.spools / self.name, runner.ledger, _now_ms,
                runner.on_event,
            )  # fmt: skip
        make = runner.transport.client(
            Misbehaviour(
                fleet.faults, self._chance, runner.ledger, self._recorder, self.name,
                self._identity.config.stack, [v for v in runner.victims if v != self.name],
            ),
            self._obeying.attach if self._obeying else None,
        )  # fmt: skip
        if runner.spools is None:
            return DirectSender(lambda: make(self._identity, observer=self._recorder))
        self.spool = Spool(
            runner.spools / self.name, now=_now_ms, limits=SpoolLimits(sync=False),
            on_event=runner.on_event,
        )  # fmt: skip
        client = SpooledClient(
            self._identity, self.spool, limits=limits, observer=self._recorder, order=fleet.order,
            on_event=runner.on_event, client=make,
        )  # fmt: skip
        return SpooledSender(client, runner.note)

    async def live(self) -> None:
        """Connect, and send what the schedule says until it is over or the fleet finishes."""
        runner = self._runner
        try:
            await self.sender.open()
        except ConnectError as error:
            runner.failed.append(str(error))
            return
        sending = asyncio.create_task(self._send_all())
        finishing = asyncio.create_task(runner.finishing.wait())
        try:
            await asyncio.wait(
                [sending, finishing],
                timeout=runner.fleet.seconds + GRACE_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for task in (sending, finishing):
                task.cancel()
            await asyncio.gather(sending, finishing, return_exceptions=True)
        try:
            if not sending.cancelled():
                sending.result()
        except PublishRefusedError as error:
            runner.failed.append(str(error))

    async def _send_all(self) -> None:
        """A device without a spool begins its schedule when it is connected; one with a spool
        takes readings by the fleet's time, connected or not."""
        runner = self._runner
        spooled = self.spool is not None
        origin = 0.0 if spooled else runner.elapsed()
        since = runner.elapsed() if spooled and runner.incarnation > 1 else 0.0
        for due in due_times(runner.fleet, self._schedule_chance, since=since):
            if (rest := origin + due - runner.elapsed()) > 0:
                await asyncio.sleep(rest)
            if self._silent:
                continue
            batch = runner.fleet.batch
            taken = await self.sender.send(self.sensor.take(_now_ms(), batch))
            runner.taken += taken
            runner.refused += batch - taken

    async def close(self) -> None:
        """Send what waits, and disconnect."""
        if self._obeying is not None:
            await self._obeying.close()
        self._runner.unacknowledged += await self.sender.close()

    async def undergo(self, event: Event) -> None:
        """An event of the plan happens to this device."""
        self._runner.ledger.fault(event.kind, self.name)
        if event.kind not in ("offline", "storm"):
            await self._go_wrong(event)
            return
        assert isinstance(self.sender, SpooledSender)
        await self.sender.client.pause()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(event.seconds or self._chance.uniform(*STORM_S)):
                await self._runner.finishing.wait()
        self.sender.client.start()

    async def _go_wrong(self, event: Event) -> None:
        """For a while, the device's clock or a sensor is wrong, or it takes no readings."""
        faults, sensor = self._runner.fleet.faults, self.sensor
        match event.kind:
            case "clock_jump":
                sensor.jump_ms = round(event.by * 1000)
                await asyncio.sleep(event.seconds)
                sensor.set_clock_right()
            case "silent":
                self._silent = True
                await asyncio.sleep(event.seconds)
                self._silent = False
            case "stuck" if faults.stuck:
                sensor.stick(faults.stuck.metric)
                await asyncio.sleep(event.seconds)
                sensor.mend(faults.stuck.metric)
            case "drift" if faults.drift:
                sensor.drift(faults.drift.metric, event.by, event.seconds)
                await asyncio.sleep(event.seconds)
                sensor.mend(faults.drift.metric)

    async def come_online(self) -> None:
        """Give the device its network back, if it has lost it."""
        if isinstance(self.sender, SpooledSender) and self.sender.client.offline:
            self.sender.client.start()


async def run_fleet(runner: FleetRunner, stopping: Callable[[], bool] = lambda: False) -> Status:
    """Run a fleet in this process; ``stopping`` is asked a few times a second whether to end
    early, because a signal's handler cannot wake an event loop.

    :raises ConnectError: when every device failed: it could not connect, or was refused.
    """
    running = asyncio.create_task(runner.run())
    while not running.done():
        await asyncio.wait([running], timeout=0.2)
        if stopping():
            runner.finish()
    running.result()
    status = runner.status()
    if runner.devices and len(status.failed) == len(runner.devices):
        raise ConnectError(status.failed[0])
    return status


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _rss_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
