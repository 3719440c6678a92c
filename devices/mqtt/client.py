"""A device's telemetry client: numbers, batches and publishes readings to Basic Ingest.

What it promises: a message that :meth:`TelemetryClient.send` took is published until the broker
acknowledges it, across reconnections, always with the same bytes; or it fails loudly. What it
does not: that a message is published once (a lost acknowledgement repeats it; the worker knows
the ids), or that messages arrive in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from typing import Final, Protocol

from devices.batch import Batcher, BatchLimits, Outgoing
from devices.identity import Identity
from devices.mqtt.connection import NOT_AUTHORIZED, ConnectError, Connection, UnsendableError
from ingest.message import MAX_PAYLOAD_BYTES, Content
from ingest.topic import basic_ingest_topic

__all__ = ["ConnectError", "Observer", "PublishRefusedError", "TelemetryClient"]

CONNECT_S: Final = 20.0
WINDOW: Final = 50
_FINAL: Final = frozenset({NOT_AUTHORIZED, 0x90, 0x99})
"""Reason codes that no retry mends: not authorized, topic name invalid, payload invalid."""


class PublishRefusedError(Exception):
    """A message is refused for good; ``reason_code`` is MQTT 5's, or ``None`` when it was not
    the broker that refused."""

    def __init__(self, message: str, reason_code: int | None) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class Observer(Protocol):
    """Hears of each message before it is handed to the transport, and when it is acknowledged."""

    def sending(self, device_id: str, message: Outgoing) -> None:
        """Called before the first hand-over; when it raises, nothing is sent."""

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        """The broker has it."""


class Link(Protocol):
    """What carries messages: a :class:`~devices.mqtt.connection.Connection`, or a test double."""

    count: int

    async def open(self, timeout_s: float) -> None:
        """Connect."""

    async def publish(self, topic: str, payload: bytes) -> int | None:
        """Publish once; the reason code, or ``None`` when there was no answer."""

    async def stop(self) -> None:
        """Disconnect for good."""


class TelemetryClient:
    """One device's client. Use as an async context manager, on one event loop."""

    def __init__(
        self,
        identity: Identity,
        *,
        limits: BatchLimits | None = None,
        window: int = WINDOW,
        observer: Observer | None = None,
        close_s: float = 30.0,
        connection: Link | None = None,
        content: Content = "json",
    ) -> None:
        """``window`` is the most messages in flight; ``close_s`` how long :meth:`close` waits
        for acknowledgements; ``connection`` is another than the identity's to its broker;
        ``content`` is how messages are written.

        :raises ConnectError: when the identity's certificate or key cannot be used.
        """
        self.identity = identity
        self._limits = limits or BatchLimits()
        self.batcher = Batcher(self._limits, content=content)
        self.topic = basic_ingest_topic(identity.facts.rule, identity.device_id)
        self._observer = observer
        self._close_s = close_s
        self._window = asyncio.Semaphore(window)
        self._loop = asyncio.get_running_loop()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._flushes: set[asyncio.Task[None]] = set()
        self._age: asyncio.TimerHandle | None = None
        self._taken = self._acknowledged = 0
        self._connection: Link = connection or Connection(identity)
        self.failure: BaseException | None = None

    async def __aenter__(self) -> TelemetryClient:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def in_flight(self) -> int:
        """Messages that were handed to the transport and are not acknowledged."""
        return len(self._deliveries)

    @property
    def connections(self) -> int:
        """How many times it connected."""
        return self._connection.count

    async def connect(self, timeout_s: float = CONNECT_S) -> None:
        """Connect.

        :raises ConnectError: when the broker refuses, or does not answer in time.
        """
        await self._connection.open(timeout_s)

    async def add(self, ts: int, metrics: Mapping[str, float | bool]) -> None:
        """Take a reading; it is sent when its message is full or old enough.

        Waits while the window is full: that is the backpressure.

        :raises ValueError: when the reading breaks the contract.
        """
        for message in self.batcher.add(ts, metrics):
            await self.send(message)
        if self._age is None and len(self.batcher):
            self._age = self._loop.call_later(self._limits.age_s, self._aged)

    async def flush(self) -> None:
        """Send the open message, full or not."""
        for message in self.batcher.flush():
            await self.send(message)

    async def send(self, message: Outgoing, *, topic: str | None = None) -> asyncio.Task[None]:
        """Take a message, waiting while the window is full. The task ends when the broker has
        acknowledged it, or raises :class:`PublishRefusedError`.

        :raises PublishRefusedError: when the broker refused an earlier message of this device
            to its own topic; it would refuse this one too.
        :raises ValueError: when the message is greater than IoT Core takes.
        """
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(
                f"a message of {len(message.payload)} bytes: the limit is {MAX_PAYLOAD_BYTES}"
            )
        self._taken += 1
        await self._window.acquire()
        try:
            self._note(message)
        except BaseException:
            self._window.release()
            raise
        task = self._loop.create_task(self._deliver(message, topic or self.topic))
        self._deliveries.add(task)
        task.add_done_callback(lambda _: self._window.release())
        task.add_done_callback(self._ended if topic is None else self._deliveries.discard)
        return task

    async def close(self) -> int:
        """Send what is open, wait for acknowledgements, disconnect.

        Returns how many messages were taken and not acknowledged: what was refused, what
        nothing was heard of within ``close_s``, and what found no room in the window.
        """
        if self._age is not None:
            self._age.cancel()
        try:
            with contextlib.suppress(TimeoutError, PublishRefusedError):
                async with asyncio.timeout(self._close_s):
                    await self.flush()
                    while working := self._deliveries | self._flushes:
                        await asyncio.wait(working)
        finally:
            await self._abandon()
            await self._connection.stop()
        return self._taken - self._acknowledged

    def _note(self, message: Outgoing) -> None:
        """What precedes a hand-over: nothing is sent when this raises."""
        if self.failure is not None:
            raise self.failure
        if self._observer is not None:
            self._observer.sending(self.identity.device_id, message)

    async def _deliver(self, message: Outgoing, topic: str) -> None:
        attempt = 0
        while True:
            try:
                code = await self._connection.publish(topic, message.payload)
            except UnsendableError as error:
                raise PublishRefusedError(
                    f"a message of {self.identity.device_id} to {topic} cannot be sent: {error}",
                    None,
                ) from None
            if code is not None and code < 0x80:
                break
            if code in _FINAL:
                raise PublishRefusedError(
                    f"the broker refuses {self.identity.device_id}'s message to {topic} "
                    f"(reason code 0x{code:02x}): a device may publish only to its own topic",
                    code,
                )
            attempt = min(attempt + 1, 6)
            await asyncio.sleep(random.random() * min(10.0, 0.2 * 2**attempt))
        self._acknowledged += 1
        if self._observer is not None:
            self._observer.acknowledged(self.identity.device_id, message)

    async def _abandon(self) -> None:
        """End what still waits for its acknowledgement, or for room in the window."""
        working = self._deliveries | self._flushes
        for task in working:
            task.cancel()
        if working:
            await asyncio.wait(working)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        self._flushes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failure = error

    def _aged(self) -> None:
        self._age = None
        if len(self.batcher):
            task = self._loop.create_task(self.flush())
            self._flushes.add(task)
            task.add_done_callback(self._ended)
