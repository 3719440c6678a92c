"""Publishes a device's messages to Basic Ingest, at least once each.

Promised: a message that :meth:`TelemetryClient.send` accepted is published until the broker
acknowledges it, across reconnections, always with the same bytes; or its task raises. Not promised:
that a message is published once (a lost acknowledgement repeats it, and consumers recognize its
ids), or that messages arrive in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final, Protocol

from devices.batch import Outgoing
from devices.errors import PublishRefusedError
from devices.identity import Identity
from devices.mqtt.connect_errors import NOT_AUTHORIZED
from devices.mqtt.connection import Connection, UnsendableError
from ingest.message import MAX_PAYLOAD_BYTES
from ingest.topic import basic_ingest_topic

CONNECT_S: Final = 20.0
WINDOW: Final = 50
RETRY_S: Final = (0.2, 10.0)
"""First and longest pause (s) before a message without an answer is published again; each pause
is a random share of it (full jitter)."""
_FINAL: Final = frozenset({NOT_AUTHORIZED, 0x90, 0x99})
"""Reason codes that a retry cannot change: not authorized, topic name invalid, payload invalid."""


class Observer(Protocol):
    """Called with each message, before it is handed to the transport and when the broker has
    acknowledged it. Both run on the event loop and must not block."""

    def sending(self, device_id: str, message: Outgoing) -> None:
        """Before the first hand-over. When this raises, the message is not sent."""

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        """The broker has the message."""


class Transport(Protocol):
    """What carries messages: a :class:`~devices.mqtt.connection.Connection`, or a test double."""

    count: int
    """How many times it connected."""

    async def open(self, timeout_s: float) -> None:
        """Connect.

        :raises ConnectError: when the broker refuses, or does not answer within ``timeout_s``.
        """

    async def publish(self, topic: str, payload: bytes) -> int | None:
        """Publish once with QoS 1; the reason code, or ``None`` when there was no answer."""

    async def stop(self) -> None:
        """Disconnect for good."""


class TelemetryClient:
    """One device's client, for one event loop. An async context manager, which connects."""

    def __init__(
        self,
        identity: Identity,
        *,
        window: int = WINDOW,
        observer: Observer | None = None,
        close_s: float = 30.0,
        connection: Transport | None = None,
    ) -> None:
        """``window`` is the maximum number of messages in flight, ``close_s`` how long
        :meth:`close` waits for acknowledgements; ``connection`` replaces the one to the identity's
        broker.

        :raises ConnectError: when the identity's certificate or key cannot be used.
        """
        self.identity = identity
        self.topic = basic_ingest_topic(identity.config.stack, identity.device_id)
        self._observer = observer
        self._close_s = close_s
        self._window = asyncio.Semaphore(window)
        self._loop = asyncio.get_running_loop()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._taken = self._acknowledged = 0
        self._connection: Transport = connection or Connection(identity)
        self.failure: BaseException | None = None
        """Why a message to the device's own topic was refused; later ones are not sent."""

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

        :raises ConnectError: when the broker refuses, or does not answer within ``timeout_s``.
        """
        await self._connection.open(timeout_s)

    async def send(self, message: Outgoing, *, topic: str | None = None) -> asyncio.Task[None]:
        """Accept a message, after a wait for room in the window (backpressure). The returned task
        ends when the broker has acknowledged it, or raises :class:`PublishRefusedError`.

        :raises PublishRefusedError: when the broker refused an earlier message of this device to
            its own topic; it would refuse this one too.
        :raises ValueError: when the message is larger than IoT Core accepts.
        """
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(
                f"a message of {len(message.payload)} bytes: the limit is {MAX_PAYLOAD_BYTES}"
            )
        self._taken += 1
        await self._window.acquire()
        try:
            self._before_sending(message)
        except BaseException:
            self._window.release()
            raise
        task = self._loop.create_task(self._deliver(message, topic or self.topic))
        self._deliveries.add(task)
        task.add_done_callback(lambda _: self._window.release())
        task.add_done_callback(self._on_delivered if topic is None else self._deliveries.discard)
        return task

    async def close(self) -> int:
        """Wait up to ``close_s`` for acknowledgements, then disconnect.

        Returns how many messages were accepted and not acknowledged: refused ones, those without
        an answer, and those that found no room in the window.
        """
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._close_s):
                    while self._deliveries:
                        await asyncio.wait(self._deliveries)
        finally:
            await self._cancel_deliveries()
            await self._connection.stop()
        return self._taken - self._acknowledged

    def _before_sending(self, message: Outgoing) -> None:
        if self.failure is not None:
            raise self.failure
        if self._observer is not None:
            self._observer.sending(self.identity.device_id, message)

    async def _deliver(self, message: Outgoing, topic: str) -> None:
        first, longest = RETRY_S
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
            await asyncio.sleep(random.random() * min(longest, first * 2**attempt))
        self._acknowledged += 1
        if self._observer is not None:
            self._observer.acknowledged(self.identity.device_id, message)

    async def _cancel_deliveries(self) -> None:
        for task in self._deliveries:
            task.cancel()
        if self._deliveries:
            await asyncio.wait(self._deliveries)

    def _on_delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failure = error
