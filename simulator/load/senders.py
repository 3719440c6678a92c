"""How a virtual device sends: through a spool, as real devices do, or straight to its client.

A device with a spool survives the loss of its network and of its process. One without costs less
than half as much, so that a machine can drive more of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from devices.batch import Outgoing
from devices.errors import SpoolFullError
from devices.mqtt.client import TelemetryClient
from devices.spool.client import SpooledClient
from ingest.message import VERSION, Message, Reading, encode
from simulator.load.sensor import Measured


class Sender(Protocol):
    """One device's way out."""

    @property
    def connected(self) -> bool:
        """Whether it has connected."""

    @property
    def connections(self) -> int:
        """How many times it connected."""

    async def open(self) -> None:
        """Begin to connect.

        :raises ConnectError: when the device has no spool and cannot connect.
        """

    async def send(self, readings: Sequence[Measured]) -> int:
        """Take the readings of one message; how many were taken.

        :raises PublishRefusedError: when the broker refuses this device's messages.
        """

    async def close(self) -> int:
        """Send what waits and disconnect; how many messages were not acknowledged."""


class DirectSender:
    """Numbers readings from 0 under a boot of its own and hands them to the client."""

    def __init__(self, make: Callable[[], TelemetryClient]) -> None:
        self._make = make
        self._client: TelemetryClient | None = None
        self._boot, self._seq = secrets.token_hex(8), 0

    @property
    def connected(self) -> bool:
        """Whether it has connected."""
        return self._client is not None

    @property
    def connections(self) -> int:
        """How many times it connected."""
        return self._client.connections if self._client else 0

    async def open(self) -> None:
        """Connect."""
        client = self._make()
        await client.connect(60.0)
        self._client = client

    async def send(self, readings: Sequence[Measured]) -> int:
        """Waits while too many messages are not acknowledged."""
        assert self._client is not None
        for message in messages(
            self._boot, self._seq, [Reading(ts, dict(m)) for ts, m in readings]
        ):
            self._seq += message.readings
            await self._client.send(message)
        return len(readings)

    async def close(self) -> int:
        """Wait for acknowledgements and disconnect."""
        client, self._client = self._client, None
        return await client.close() if client else 0


class SpooledSender:
    """Puts readings into the device's spool, which its client empties."""

    def __init__(self, client: SpooledClient, on_problem: Callable[[str], None]) -> None:
        self.client = client
        self._on_problem = on_problem

    @property
    def connected(self) -> bool:
        """Whether it is connected now."""
        return self.client.client is not None and self.client.client.connections > 0

    @property
    def connections(self) -> int:
        """How many times it connected."""
        return self.client.connections

    async def open(self) -> None:
        """Begin to connect; does not wait for a network."""
        self.client.start()

    async def send(self, readings: Sequence[Measured]) -> int:
        """Never waits. A full spool refuses readings."""
        taken = 0
        for ts, metrics in readings:
            try:
                self.client.add(ts, metrics)
                taken += 1
            except SpoolFullError as error:
                self._on_problem(str(error))
        return taken

    async def close(self) -> int:
        """Wait until the spool is empty and disconnect."""
        await self.client.drained()
        await self.client.close()
        return 0


def messages(boot: str, seq: int, readings: Sequence[Reading]) -> Iterator[Outgoing]:
    """The readings as one message, or as several where one would be too large.

    :raises ValueError: when a reading breaks the contract.
    """
    try:
        payload = encode(Message(VERSION, boot, seq, list(readings)))
    except ValueError:
        if len(readings) == 1:
            raise
        half = len(readings) // 2
        yield from messages(boot, seq, readings[:half])
        yield from messages(boot, seq + half, readings[half:])
        return
    yield Outgoing(boot, seq, len(readings), payload)
