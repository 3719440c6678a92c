"""A seeded fleet: many virtual devices, each with its own certificate, on one event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from devices.batch import BatchLimits, Outgoing
from devices.errors import ConnectError, PublishRefusedError
from devices.identity import Identity
from devices.mqtt.client import TelemetryClient
from simulator.load import garbage
from simulator.load.batcher import Batcher
from simulator.signals import reader
from simulator.verification.ledger import OK, Ledger

CONNECTS_AT_ONCE: Final = 8
BATCH_BYTES: Final = 120 * 1024
GRACE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What every device of a fleet does.

    ``rate`` is messages/s a device, ``batch`` readings a message, ``seconds`` the duration,
    ``jitter`` the share of an interval by which a message may come early or late. Every
    ``duplicate_every``-th message is published twice; every ``garbage_every``-th is followed by
    bytes that no worker can read (0: never).
    """

    rate: float = 1.0
    batch: int = 1
    seconds: float = 30.0
    jitter: float = 0.2
    seed: int = 1
    duplicate_every: int = 0
    garbage_every: int = 0


@dataclass
class Progress:
    """Live counts of a run; ``failed`` holds a sentence for each device that could not connect
    or whose messages were refused."""

    connected: int = 0
    failed: list[str] = field(default_factory=list)
    unacknowledged: int = 0


class _Recorder:
    """One device's observer: writes each message into the ledger with what must become of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.expect = OK

    def sending(self, device_id: str, message: Outgoing) -> None:
        self._ledger.sending(device_id, message, self.expect)

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        self._ledger.acknowledged(device_id, message)


class Fleet:
    """Runs a load over devices that exist."""

    def __init__(
        self,
        identities: Sequence[Identity],
        load: Load,
        ledger: Ledger,
        *,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """``stopping`` is asked between messages; when it says so the load ends early, with
        everything that was handed over still awaited."""
        self._identities = identities
        self._load = load
        self._ledger = ledger
        self._stopping = stopping
        self._slots = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self.progress = Progress()

    async def run(self) -> Progress:
        """Connect every device, drive the load, and wait for acknowledgements.

        :raises ConnectError: when every device failed: it could not connect, or was refused.
        """
        ending = asyncio.create_task(self._ending())
        try:
            await asyncio.gather(
                *(self._device(i, one, ending) for i, one in enumerate(self._identities))
            )
        finally:
            ending.cancel()
        if self._identities and len(self.progress.failed) == len(self._identities):
            raise ConnectError(self.progress.failed[0])
        return self.progress

    async def _ending(self) -> None:
        """Ends when the user wants to stop, which a signal's handler tells and no event can."""
        while not self._stopping():  # noqa: ASYNC110
            await asyncio.sleep(0.2)

    async def _device(self, index: int, identity: Identity, ending: asyncio.Task[None]) -> None:
        recorder = _Recorder(self._ledger)
        try:
            async with self._slots:
                if ending.done():
                    return
                client = TelemetryClient(identity, observer=recorder)
                await client.connect(60.0)
        except ConnectError as error:
            self.progress.failed.append(str(error))
            return
        self.progress.connected += 1
        chance = random.Random(f"{self._load.seed}/{index}")
        drive = asyncio.create_task(self._drive(client, recorder, chance))
        try:
            await self._bounded(drive, ending)
        except PublishRefusedError as error:
            self.progress.failed.append(str(error))
        finally:
            self.progress.unacknowledged += await client.close()
            self.progress.connected -= 1

    async def _bounded(self, drive: asyncio.Task[None], ending: asyncio.Task[None]) -> None:
        """Wait for a device's load, but not for ever: a full window of messages that the broker
        does not take must not keep the fleet from its end."""
        await asyncio.wait(
            [drive, ending],
            timeout=self._load.seconds + GRACE_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        drive.cancel()
        await asyncio.gather(drive, return_exceptions=True)
        if not drive.cancelled() and (error := drive.exception()):
            raise error

    async def _drive(
        self, client: TelemetryClient, recorder: _Recorder, chance: random.Random
    ) -> None:
        """One device's load: readings spread over each message's interval."""
        load = self._load
        device = client.identity
        batcher = Batcher(BatchLimits(load.batch, BATCH_BYTES))
        read = reader(load.seed, device.device_id, device.config.type)
        interval = 1 / load.rate
        started = time.monotonic() + chance.random() * interval
        last_ts = 0
        for number in range(1, max(1, round(load.seconds * load.rate)) + 1):
            for i in range(load.batch):
                due = started + (number - 1 + i / load.batch) * interval
                due += chance.uniform(-0.5, 0.5) * load.jitter * interval / load.batch
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                last_ts = max(last_ts + 1, time.time_ns() // 1_000_000)
                for message in batcher.add(last_ts, read(last_ts)):
                    await self._send(client, message, number)
            if _every(load.garbage_every, number):
                made = garbage.make(chance, number)
                self._ledger.fault("malformed", device.device_id)
                recorder.expect = made.expect
                await client.send(made.message)
                recorder.expect = OK
        for message in batcher.flush():  # what a limit of bytes left over
            await client.send(message)

    async def _send(self, client: TelemetryClient, message: Outgoing, number: int) -> None:
        await client.send(message)
        if _every(self._load.duplicate_every, number):
            self._ledger.fault("duplicates", client.identity.device_id)
            await client.send(message)


def _every(period: int, number: int) -> bool:
    return period > 0 and number % period == 0
