"""The day's plan, and the fleet as one crowd: who is connected, and what reaches the stream.

A device that is not connected, or whose publish is refused, keeps its readings and sends them
later, as many in a message as a spool's batch holds.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.scale.quotas import CONNECTIONS, CONNECTS, PUBLISHES, RULES, Account, Refusals
from devices.batch import ENVELOPE_BYTES, BatchLimits

Floats = npt.NDArray[np.float64]

RETRY_S: Final = 10.0
"""Mean pause before an offline device tries to connect again: ``devices/mqtt/connection.py`` draws
it from 0 to 20 s."""
READING_BYTES: Final = 80
"""A reading of three metrics, as JSON."""
A_BATCH: Final = (BatchLimits().bytes - ENVELOPE_BYTES) // READING_BYTES
"""Readings that one message from a spool holds."""


@dataclass(frozen=True)
class Scenario:
    """What is played. Times are in s since midnight; ``outage`` and ``cut`` are begin and end.

    Every device takes a reading each ``every_s`` and sends it at once. The fleet is switched on at
    midnight, with new tables. In the ``outage`` no worker runs. In the ``cut`` no device has a
    network; then all of them come back at once.
    """

    devices: int = 1_000_000
    shards: int = 1_000
    every_s: float = 60.0
    metrics: int = 3
    day_s: int = 86_400
    step_s: float = 5.0
    outage: tuple[float, float] = (36_000.0, 43_200.0)
    cut: tuple[float, float] = (64_800.0, 65_400.0)

    @property
    def steps(self) -> int:
        """Steps of the day."""
        return round(self.day_s / self.step_s)

    @property
    def rate(self) -> float:
        """Readings a second of the whole fleet."""
        return self.devices / self.every_s

    def workers_run(self, now: float) -> bool:
        """Whether it is not the outage."""
        return not self.outage[0] <= now < self.outage[1]

    def has_network(self, now: float) -> bool:
        """Whether it is not the cut."""
        return not self.cut[0] <= now < self.cut[1]


DAY: Final = Scenario()
QUICK: Final = Scenario(day_s=14_400, outage=(5_400.0, 7_200.0), cut=(10_800.0, 11_100.0))
"""Four hours, with an outage of half an hour."""


def device_name(number: int) -> str:
    """The device's id, which is its partition key."""
    return f"dev-{number:07d}"


def shard_of(device: str, shards: int) -> int:
    """The shard of a partition key in a stream whose shards have equal parts of the hash range:
    Kinesis takes the key's MD5 as a number of 128 bits.

    >>> shard_of("dev-0000000", 1), 0 <= shard_of("dev-0000001", 10) < 10
    (0, True)
    """
    return (
        int.from_bytes(hashlib.md5(device.encode(), usedforsecurity=False).digest()) * shards >> 128
    )


def placement(scenario: Scenario) -> npt.NDArray[np.int64]:
    """The shard of each device."""
    return np.fromiter(
        (shard_of(device_name(number), scenario.shards) for number in range(scenario.devices)),
        dtype=np.int64,
        count=scenario.devices,
    )


class Sent(NamedTuple):
    """What reached the stream in a step, and how many devices connected in it."""

    messages: float
    readings: float
    newly: float


class Fleet:
    """The crowd. ``connected`` are devices; ``spooled`` readings on devices that are offline,
    ``waiting`` those on connected ones whose publish was refused or is to come."""

    def __init__(self, scenario: Scenario, account: Account, refusals: Refusals) -> None:
        self._scenario = scenario
        self._account = account
        self._refusals = refusals
        self.connected = 0.0
        self.spooled = self.waiting = 0.0
        self._waiting_messages = 0.0
        self.made = self.sent = self.messages = self.connects = 0.0

    def step(self, now: float) -> Sent:
        """Play the step that begins now."""
        plan = self._scenario
        made = plan.rate * plan.step_s
        self.made += made
        if not plan.has_network(now):
            self.spooled += made + self.waiting
            self.connected = self.waiting = self._waiting_messages = 0.0
            return Sent(0.0, 0.0, 0.0)
        fresh = made * self.connected / plan.devices
        self.spooled += made - fresh
        newly = self._connect(now)
        return self._publish(fresh, newly, now)

    def _connect(self, now: float) -> float:
        seconds, offline = self._scenario.step_s, self._scenario.devices - self.connected
        if offline <= 0:
            return 0.0
        tries = offline * seconds / RETRY_S
        allowed = self._account[CONNECTS] * seconds
        newly = min(offline, self._refusals.admit(CONNECTS, tries, allowed, now))
        room = self._account[CONNECTIONS] - self.connected
        newly = self._refusals.admit(CONNECTIONS, newly, room, now)
        each = self.spooled / offline
        messages = math.ceil(each / A_BATCH) if each >= 1 else each
        self._waiting_messages += newly * messages
        self.waiting += newly * each
        self.spooled -= newly * each
        self.connected += newly
        self.connects += newly
        return newly

    def _publish(self, fresh: float, newly: float, now: float) -> Sent:
        """Telemetry and, for each new connection, its presence: one rule each."""
        telemetry = fresh + self._waiting_messages
        asked, seconds = telemetry + newly, self._scenario.step_s
        served = self._refusals.admit(PUBLISHES, asked, self._account[PUBLISHES] * seconds, now)
        served = self._refusals.admit(RULES, served, self._account[RULES] * seconds, now)
        share = served / asked if asked else 1.0
        messages, readings = share * telemetry, share * (fresh + self.waiting)
        self.waiting += fresh - readings
        self._waiting_messages = telemetry - messages
        self.sent += readings
        self.messages += messages
        return Sent(messages, readings, newly)
