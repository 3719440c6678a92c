"""A device's MQTT 5 client on the AWS IoT Device SDK: mTLS, QoS 1, Basic Ingest.

What it promises: a message that :meth:`TelemetryClient.send` took is published until the broker
acknowledges it, across reconnections, always with the same bytes; or it fails loudly. What it
does not: that a message is published once (a lost acknowledgement repeats it; the worker knows
the ids), or that messages arrive in order.

Callbacks of the SDK come on its own threads; each does nothing but hand over to the event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, Protocol

from awscrt import exceptions, mqtt5
from awsiot import mqtt5_client_builder

from devices.batch import Batcher, BatchLimits, Outgoing
from devices.identity import Identity
from ingest.topic import basic_ingest_topic

CONNECT_S: Final = 20.0
ACK_S: Final = 30
WINDOW: Final = 50
KEEP_ALIVE_S: Final = 30
_RECONNECT_MS: Final = (500, 20_000)
_NOT_AUTHORIZED: Final = 0x87
_FINAL: Final = frozenset({_NOT_AUTHORIZED, 0x90, 0x99})
"""Reason codes that no retry mends: not authorized, topic name invalid, payload invalid."""
_REFUSED_CONNECT: Final = frozenset({0x84, 0x85, 0x86, _NOT_AUTHORIZED, 0x8A, 0x8C})


class ConnectError(Exception):
    """The broker cannot be reached or does not let the device in; the text says which."""


class PublishRefusedError(Exception):
    """The broker refuses a message for good; ``reason_code`` is MQTT 5's."""

    def __init__(self, message: str, reason_code: int) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class Observer(Protocol):
    """Hears of each message before it is handed to the transport, and when it is acknowledged."""

    def sending(self, device_id: str, message: Outgoing) -> None:
        """Called before the first hand-over; when it raises, nothing is sent."""

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        """The broker has it."""


class TelemetryClient:
    """One device's connection. Use as an async context manager, on one event loop."""

    def __init__(
        self,
        identity: Identity,
        *,
        limits: BatchLimits | None = None,
        window: int = WINDOW,
        observer: Observer | None = None,
        close_s: float = 30.0,
    ) -> None:
        """``window`` is the most messages in flight; ``close_s`` how long :meth:`close` waits
        for acknowledgements."""
        self.identity = identity
        self._limits = limits or BatchLimits()
        self.batcher = Batcher(self._limits)
        self.topic = basic_ingest_topic(identity.facts.rule, identity.device_id)
        self._observer = observer
        self._close_s = close_s
        self._window = asyncio.Semaphore(window)
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Future[int]] = set()
        self._age: asyncio.TimerHandle | None = None
        self._client = self._build()
        self._started = False
        self.connections = 0
        self.failure: BaseException | None = None

    async def __aenter__(self) -> TelemetryClient:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def in_flight(self) -> int:
        """Messages that were taken and are not acknowledged."""
        return len(self._deliveries)

    async def connect(self, timeout_s: float = CONNECT_S) -> None:
        """Connect.

        :raises ConnectError: when the broker refuses, or does not answer in time.
        """
        self._started = True
        self._client.start()
        try:
            await asyncio.wait_for(asyncio.shield(self._connected), timeout_s)
        except TimeoutError:
            await self._stop()
            facts = self.identity.facts
            raise ConnectError(
                f"no broker answers at {facts.host}:{facts.port} within {timeout_s:.0f} s: is the "
                "stack up, and the network there?"
            ) from None
        except ConnectError:
            await self._stop()
            raise

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
        """
        if self.failure is not None:
            raise self.failure
        await self._window.acquire()
        try:
            if self._observer is not None:
                self._observer.sending(self.identity.device_id, message)
        except BaseException:
            self._window.release()
            raise
        task = self._loop.create_task(self._deliver(message, topic or self.topic))
        self._deliveries.add(task)
        task.add_done_callback(lambda _: self._window.release())
        task.add_done_callback(self._ended if topic is None else self._deliveries.discard)
        return task

    async def close(self) -> int:
        """Send what is open, wait for acknowledgements, disconnect; how many are missing."""
        if self._age is not None:
            self._age.cancel()
        for message in self.batcher.flush():
            await self.send(message)
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=self._close_s)
        missing = len(self._deliveries)
        for task in list(self._deliveries):
            task.cancel()
        if self._deliveries:
            await asyncio.wait(self._deliveries)
        await self._stop()
        return missing

    async def _deliver(self, message: Outgoing, topic: str) -> None:
        packet = mqtt5.PublishPacket(
            topic=topic, qos=mqtt5.QoS.AT_LEAST_ONCE, payload=message.payload
        )
        attempt = 0
        while True:
            try:
                code = await self._publish(packet)
            except exceptions.AwsCrtError:
                code = None  # no acknowledgement: it may have arrived, so the same again
            if code is not None and code < 0x80:
                break
            if code in _FINAL:
                raise PublishRefusedError(
                    f"the broker refuses {self.identity.device_id}'s message to {topic} "
                    f"(reason code 0x{code:02x}): a device may publish only to its own topic",
                    code or 0,
                )
            attempt += 1
            await asyncio.sleep(random.random() * min(10.0, 0.2 * 2**attempt))
        if self._observer is not None:
            self._observer.acknowledged(self.identity.device_id, message)

    async def _publish(self, packet: Any) -> int:
        """Publish once; the PUBACK's reason code."""
        answer: asyncio.Future[int] = self._loop.create_future()
        self._waiting.add(answer)
        future: Future[Any] = self._client.publish(packet)
        future.add_done_callback(self._handed_over(_settle, answer))
        try:
            return await answer
        finally:
            self._waiting.discard(answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failure = error

    def _aged(self) -> None:
        self._age = None
        if len(self.batcher):
            task = self._loop.create_task(self.flush())
            self._deliveries.add(task)
            task.add_done_callback(self._ended)

    async def _stop(self) -> None:
        if self._started:
            self._started = False
            self._client.stop()
            await self._stopped

    def _build(self) -> Any:
        facts = self.identity.facts
        return mqtt5_client_builder.mtls_from_path(
            str(self.identity.certificate_path),
            str(self.identity.key_path),
            endpoint=facts.host,
            port=facts.port,
            ca_filepath=facts.ca_path,
            client_id=facts.device_id,
            keep_alive_interval_sec=KEEP_ALIVE_S,
            ack_timeout_sec=ACK_S,
            retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.FULL,
            min_reconnect_delay_ms=_RECONNECT_MS[0],
            max_reconnect_delay_ms=_RECONNECT_MS[1],
            on_lifecycle_connection_success=self._handed_over(self._on_connected),
            on_lifecycle_connection_failure=self._handed_over(self._on_failed),
            on_lifecycle_disconnection=self._handed_over(self._on_disconnected),
            on_lifecycle_stopped=self._handed_over(self._on_stopped),
        )

    def _handed_over(self, function: Callable[..., object], *first: Any) -> Callable[[Any], None]:
        """A callback for the SDK's threads that runs ``function`` on the event loop."""

        def callback(argument: Any) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(partial(function, *first, argument))

        return callback

    def _on_connected(self, _: Any) -> None:
        self.connections += 1
        if not self._connected.done():
            self._connected.set_result(None)

    def _on_failed(self, failure: Any) -> None:
        if not self._connected.done() and (reason := self._final_reason(failure)):
            self._connected.set_exception(ConnectError(reason))

    def _on_disconnected(self, event: Any) -> None:
        """On AWS a refused publish ends the connection; nothing in flight can be told apart."""
        packet = event.disconnect_packet
        if packet is not None and int(packet.reason_code) == _NOT_AUTHORIZED:
            for answer in list(self._waiting):
                if not answer.done():
                    answer.set_result(_NOT_AUTHORIZED)

    def _on_stopped(self, _: Any) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _final_reason(self, failure: Any) -> str | None:
        """Why a failed connection will fail again; ``None`` when it may not."""
        facts = self.identity.facts
        if failure.connack_packet is not None:
            code = int(failure.connack_packet.reason_code)
            if code in _REFUSED_CONNECT:
                return (
                    f"the broker does not let {facts.device_id} in (reason code 0x{code:02x}): its "
                    "certificate must be active and attached to the thing of that name"
                )
        error = getattr(failure.exception, "name", "")
        if "TLS" in error:
            return (
                f"no TLS with {facts.host}:{facts.port} ({error}): check the CA certificate, the "
                "host's name, and that the device's certificate was not revoked"
            )
        return None


def _settle(answer: asyncio.Future[int], future: Future[Any]) -> None:
    if answer.done():
        return
    error = future.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(int(future.result().puback.reason_code))
