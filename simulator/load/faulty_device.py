"""Clients that misbehave as devices and networks do: repeat, disorder, garbage, spoofing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from devices.batch import Outgoing
from devices.errors import PublishRefusedError
from devices.identity import Identity
from devices.mqtt.client import TelemetryClient
from devices.mqtt.client_factory import ConnectionSetup
from devices.mqtt.connection import Connection
from ingest.topic import basic_ingest_topic
from simulator.load import garbage
from simulator.scenario import Faults
from simulator.verification.ledger import OK, Ledger

SPOOF = "spoof"


class Recorder:
    """One device's observer: writes each message into the ledger with the disposition that it
    must get. Spoofed messages are not written: they must arrive nowhere.

    ``on_acknowledged`` gets the time (ms) from the hand-over of a message to its acknowledgement;
    ``now`` is a clock (s).
    """

    def __init__(
        self, ledger: Ledger, on_acknowledged: Callable[[float], None], now: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._on_acknowledged = on_acknowledged
        self._now = now
        self._sent: dict[tuple[str, int], float] = {}
        self.expect: dict[tuple[str, int], str] = {}

    def sending(self, device_id: str, message: Outgoing) -> None:
        """Into the ledger first."""
        if message.boot == SPOOF:
            return
        key = (message.boot, message.seq)
        self._sent.setdefault(key, self._now())
        self._ledger.sending(device_id, message, self.expect.get(key, OK))

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        """Into the ledger before the spool forgets it."""
        if message.boot == SPOOF:
            return
        self._ledger.acknowledged(device_id, message)
        key = (message.boot, message.seq)
        self.expect.pop(key, None)
        if (sent := self._sent.pop(key, None)) is not None:
            self._on_acknowledged((self._now() - sent) * 1000)


class Misbehaviour:
    """What one device does wrong: drawn message by message, or each so many messages."""

    def __init__(
        self, faults: Faults, chance: random.Random, ledger: Ledger, recorder: Recorder,
        device: str, stack: str, victims: list[str],
    ) -> None:  # fmt: skip
        self.faults = faults
        self.chance = chance
        self.recorder = recorder
        self.ledger = ledger
        self._device = device
        self._stack = stack
        self._victims = victims
        self._garbage = chance.randrange(1 << 40)
        self._repeated = self._followed = 0
        self.possible = any(
            (faults.disorder, faults.duplicates, faults.duplicate_every, faults.malformed,
             faults.malformed_every, faults.spoof)
        )  # fmt: skip

    def hold_s(self) -> float:
        """How long the next message is held back, so that later ones overtake it (s)."""
        if self.chance.random() >= self.faults.disorder:
            return 0.0
        self.count("disorder")
        return self.chance.uniform(0.1, 1.0) * self.faults.held_s

    def repeats(self) -> bool:
        """Whether the next message is published twice."""
        self._repeated += 1
        if not (
            self.chance.random() < self.faults.duplicates
            or _every(self.faults.duplicate_every, self._repeated)
        ):
            return False
        self.count("duplicates")
        return True

    def extras(self) -> list[tuple[Outgoing, str | None]]:
        """What is sent after a message beside it: garbage to the own topic (``None``), or a
        reading in another device's name to its topic."""
        found: list[tuple[Outgoing, str | None]] = []
        self._followed += 1
        if self.chance.random() < self.faults.malformed or _every(
            self.faults.malformed_every, self._followed
        ):
            self._garbage += 1
            made = garbage.make(self.chance, self._garbage)
            self.recorder.expect[made.message.boot, made.message.seq] = made.expect
            self.count("malformed")
            found.append((made.message, None))
        if self._victims and self.chance.random() < self.faults.spoof:
            victim = self.chance.choice(self._victims)
            payload = b'{"v":1,"boot":"spoofed0","seq":0,"readings":[{"ts":1,"metrics":{"x":1}}]}'
            self.count("spoof")
            found.append((Outgoing(SPOOF, 0, 1, payload), basic_ingest_topic(self._stack, victim)))
        return found

    def count(self, kind: str) -> None:
        """One more of a kind."""
        self.ledger.fault(kind, self._device)


class FaultyClient(TelemetryClient):
    """A telemetry client whose messages are repeated and overtaken; it waits for its turn to
    connect, as a fleet does that must not storm its broker."""

    def __init__(
        self,
        identity: Identity,
        *,
        misbehaviour: Misbehaviour,
        slots: asyncio.Semaphore,
        setup: ConnectionSetup | None = None,
        **more: Any,
    ) -> None:
        """``setup`` adds subscriptions to each new connection."""
        if setup is not None:
            more["connection"] = connection = Connection(identity)
            setup(connection)
        super().__init__(identity, **more)
        self._misbehaviour = misbehaviour
        self._slots = slots

    async def connect(self, timeout_s: float = 60.0) -> None:
        """Connect when it is its turn."""
        async with self._slots:
            await super().connect(max(timeout_s, 60.0))

    async def _deliver(self, message: Outgoing, topic: str) -> None:
        wrong = self._misbehaviour
        telemetry = message.boot not in (SPOOF, garbage.BOOT)
        if telemetry and (held := wrong.hold_s()):
            await asyncio.sleep(held)
        await super()._deliver(message, topic)
        if not telemetry:
            return
        if wrong.repeats():
            self._before_sending(message)
            self._taken += 1
            await super()._deliver(message, topic)
        for extra, elsewhere in wrong.extras():
            await self._extra(extra, elsewhere)

    async def _extra(self, message: Outgoing, elsewhere: str | None) -> None:
        """Beside the window, which this message's own delivery may fill."""
        self._before_sending(message)
        try:
            await super()._deliver(message, elsewhere or self.topic)
        except PublishRefusedError:
            if elsewhere is None:
                raise
            self._misbehaviour.count("spoof_refused")


def _every(period: int, number: int) -> bool:
    return period > 0 and number % period == 0
