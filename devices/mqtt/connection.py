"""One device's MQTT 5 connection on the AWS IoT Device SDK, as coroutines of one event loop.

It reconnects on its own, with full jitter. What was published and not acknowledged when the
connection broke is sent again by the SDK after the next one. Each connection is a new session, so
topics are subscribed again by each; what is published to them in between is not delivered.

Callbacks of the SDK come on its own threads; each does nothing but hand over to the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple

from awscrt import exceptions, mqtt5
from awsiot import mqtt5_client_builder

from devices.identity import Identity
from devices.mqtt.handshake import tls_fault

ACK_S: Final = 30
KEEP_ALIVE_S: Final = 30
STOP_S: Final = 3.0
SILENCE_S: Final = 5.0
"""How long a broker may be silent before the handshake is looked at."""
NOT_AUTHORIZED: Final = 0x87
_TOPICS_A_PACKET: Final = 8  # IoT Core's limit
_RECONNECT_MS: Final = (500, 20_000)
_REFUSED_CONNECT: Final = frozenset({0x84, 0x85, 0x86, NOT_AUTHORIZED, 0x8A, 0x8C})
_UNSENDABLE: Final = frozenset(
    {
        "AWS_ERROR_MQTT5_PACKET_VALIDATION",
        "AWS_ERROR_MQTT5_PUBLISH_OPTIONS_VALIDATION",
        "AWS_ERROR_MQTT5_ENCODE_FAILURE",
    }
)
"""Errors of the SDK that the same packet meets each time."""


class ConnectError(Exception):
    """The broker cannot be reached or does not let the device in; the text says which."""


class UnsendableError(Exception):
    """The SDK does not put this packet on the wire, now or later; the text is its error."""


class SubscribeRefusedError(Exception):
    """The broker does not let this device hear a topic; the text says which."""


class Will(NamedTuple):
    """What the broker publishes (QoS 1) when the connection ends, however it does."""

    topic: str
    payload: bytes


Handler = Callable[[bytes], None]
"""Takes a message's payload. Runs on the event loop; what it raises is the loop's to report."""


class Connection:
    """A connection that is built and not yet open. Needs a running event loop."""

    def __init__(self, identity: Identity, *, will: Will | None = None) -> None:
        """:raises ConnectError: when certificate, key or CA certificate cannot be used."""
        self._identity = identity
        self._will = will
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._waiting: set[asyncio.Future[int]] = set()
        self._handlers: dict[str, Handler] = {}
        self._greetings: list[Callable[[], Awaitable[None]]] = []
        self._greeter: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._started = False
        self._last_failure = ""
        self._client = self._build()
        self.count = 0
        """How many times it was opened: 1, and one for each reconnection."""

    async def open(self, timeout_s: float) -> None:
        """Connect for the first time.

        :raises ConnectError: when the broker refuses, or does not answer in time.
        """
        self._started = True
        self._client.start()
        try:
            async with asyncio.timeout(timeout_s):
                await self._answer()
        except TimeoutError:
            sentence = self._silence(timeout_s)
            await self.stop()
            raise ConnectError(sentence) from None
        except BaseException:
            await self.stop()
            raise

    async def publish(self, topic: str, payload: bytes) -> int | None:
        """Publish once with QoS 1; the PUBACK's reason code.

        ``None`` when no acknowledgement came in time: the message may have arrived.

        :raises UnsendableError: when the packet cannot be sent at all.
        """
        packet = mqtt5.PublishPacket(topic=topic, qos=mqtt5.QoS.AT_LEAST_ONCE, payload=payload)
        answer: asyncio.Future[int] = self._loop.create_future()
        self._waiting.add(answer)
        try:
            future: Future[Any] = self._client.publish(packet)
            future.add_done_callback(self._handed_over(_settle, answer))
            return await answer
        except exceptions.AwsCrtError as error:
            if error.name in _UNSENDABLE:
                raise UnsendableError(error.name) from None
            return None
        finally:
            self._waiting.discard(answer)

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Have ``handler`` run for each message to this topic (no wildcards), from the next
        connection on and after each reconnection. Call it before :meth:`open`.

        A broker that refuses is reported to the event loop as a :class:`SubscribeRefusedError`.
        """
        self._handlers[topic] = handler

    def after_connecting(self, greeting: Callable[[], Awaitable[None]]) -> None:
        """Have ``greeting`` run after each connection, when all topics are subscribed. What it
        raises is reported to the event loop."""
        self._greetings.append(greeting)

    def post(self, topic: str, payload: bytes) -> None:
        """Publish once with QoS 1 and do not wait: for what is said again after the next
        connection anyway. A refusal is reported to the event loop."""
        task = self._loop.create_task(self._posted(topic, payload))
        self._background.add(task)
        task.add_done_callback(self._ended)

    async def _posted(self, topic: str, payload: bytes) -> None:
        code = await self.publish(topic, payload)
        if code == NOT_AUTHORIZED:
            device = self._identity.device_id
            raise UnsendableError(f"the broker refuses a message of {device} to {topic}")

    async def stop(self) -> None:
        """Disconnect for good. What is not acknowledged is not sent again."""
        self._opened.cancel()
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        if self._started:
            self._started = False
            self._client.stop(mqtt5.DisconnectPacket(reason_code=self._goodbye()))
            await asyncio.wait([self._stopped], timeout=STOP_S)

    def _goodbye(self) -> mqtt5.DisconnectReasonCode:
        if self._will is None:
            return mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION
        return mqtt5.DisconnectReasonCode.DISCONNECT_WITH_WILL_MESSAGE

    async def _greet(self) -> None:
        """What follows each connection."""
        topics = list(self._handlers)
        for start in range(0, len(topics), _TOPICS_A_PACKET):
            await self._subscribe(topics[start : start + _TOPICS_A_PACKET])
        for greeting in self._greetings:
            await greeting()

    async def _subscribe(self, topics: Sequence[str]) -> None:
        packet = mqtt5.SubscribePacket(
            subscriptions=[mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE) for topic in topics]
        )
        codes: Sequence[int] = ()
        while not codes:  # a connection that breaks ends this, and the next one subscribes
            answer: asyncio.Future[Any] = self._loop.create_future()
            future: Future[Any] = self._client.subscribe(packet)
            future.add_done_callback(self._handed_over(_settle_with, answer))
            try:
                codes = [int(code) for code in (await answer).reason_codes]
            except exceptions.AwsCrtError:
                await asyncio.sleep(_RECONNECT_MS[0] / 1000)
        refused = [topic for topic, code in zip(topics, codes, strict=True) if code >= 0x80]
        if refused:
            raise SubscribeRefusedError(
                f"the broker does not let {self._identity.device_id} hear {', '.join(refused)}: "
                "its policy must allow iot:Subscribe and iot:Receive"
            )

    async def _answer(self) -> None:
        """Wait for the broker's answer, or for the reason why none will come."""
        await asyncio.wait([self._opened], timeout=SILENCE_S)
        if not self._opened.done():
            fault = await asyncio.to_thread(tls_fault, self._identity)
            if fault is not None:
                raise ConnectError(self._untrusted(fault))
        await asyncio.shield(self._opened)

    def _build(self) -> Any:
        facts = self._identity.facts
        try:
            return mqtt5_client_builder.mtls_from_path(
                str(self._identity.certificate_path),
                str(self._identity.key_path),
                endpoint=facts.host,
                port=facts.port,
                ca_filepath=facts.ca_path,
                client_id=facts.device_id,
                keep_alive_interval_sec=KEEP_ALIVE_S,
                ack_timeout_sec=ACK_S,
                retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.FULL,
                min_reconnect_delay_ms=_RECONNECT_MS[0],
                max_reconnect_delay_ms=_RECONNECT_MS[1],
                will=self._will_packet(),
                on_publish_received=self._handed_over(self._on_message),
                on_lifecycle_connection_success=self._handed_over(self._on_connected),
                on_lifecycle_connection_failure=self._handed_over(self._on_failed),
                on_lifecycle_disconnection=self._handed_over(self._on_disconnected),
                on_lifecycle_stopped=self._handed_over(self._on_stopped),
            )
        except (OSError, RuntimeError, exceptions.AwsCrtError) as error:
            raise ConnectError(
                f"the certificate, key or CA certificate of {facts.device_id} cannot be used "
                f"({error}): look at them in {self._identity.folder}"
            ) from None

    def _handed_over(self, function: Callable[..., object], *first: Any) -> Callable[[Any], None]:
        """A callback for the SDK's threads that runs ``function`` on the event loop."""

        def callback(argument: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear
                self._loop.call_soon_threadsafe(partial(function, *first, argument))

        return callback

    def _will_packet(self) -> Any:
        if self._will is None:
            return None
        return mqtt5.PublishPacket(
            topic=self._will.topic, payload=self._will.payload, qos=mqtt5.QoS.AT_LEAST_ONCE
        )

    def _on_connected(self, _: Any) -> None:
        self.count += 1
        if not self._opened.done():
            self._opened.set_result(None)
        if self._started and (self._handlers or self._greetings):
            if self._greeter is not None:
                self._greeter.cancel()
            self._greeter = self._loop.create_task(self._greet())
            self._background.add(self._greeter)
            self._greeter.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._loop.call_exception_handler({"message": str(error), "exception": error})

    def _on_message(self, received: Any) -> None:
        packet = received.publish_packet
        handler = self._handlers.get(packet.topic)
        if handler is not None:
            handler(packet.payload or b"")

    def _on_failed(self, failure: Any) -> None:
        self._last_failure = getattr(failure.exception, "name", "")
        if not self._opened.done() and (reason := self._final_reason(failure)):
            self._opened.set_exception(ConnectError(reason))

    def _on_disconnected(self, event: Any) -> None:
        """On AWS a refused publish ends the connection; nothing in flight can be told apart."""
        packet = event.disconnect_packet
        if packet is not None and int(packet.reason_code) == NOT_AUTHORIZED:
            for answer in list(self._waiting):
                if not answer.done():
                    answer.set_result(NOT_AUTHORIZED)

    def _on_stopped(self, _: Any) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _final_reason(self, failure: Any) -> str | None:
        """Why a failed connection will fail again; ``None`` when it may not."""
        facts = self._identity.facts
        if failure.connack_packet is not None:
            code = int(failure.connack_packet.reason_code)
            if code in _REFUSED_CONNECT:
                return (
                    f"the broker does not let {facts.device_id} in (reason code 0x{code:02x}): its "
                    "certificate must be active and attached to the thing of that name"
                )
        return self._untrusted(self._last_failure) if "TLS" in self._last_failure else None

    def _untrusted(self, fault: str) -> str:
        facts = self._identity.facts
        return (
            f"no TLS with {facts.host}:{facts.port} ({fault}): check the CA certificate, the "
            "host's name, and that the device's certificate was not revoked"
        )

    def _silence(self, timeout_s: float) -> str:
        facts = self._identity.facts
        why = f" ({self._last_failure})" if self._last_failure else ""
        return (
            f"no broker answers at {facts.host}:{facts.port} within {timeout_s:.0f} s{why}: is the "
            "stack up, and the network there?"
        )


def _settle_with(answer: asyncio.Future[Any], future: Future[Any]) -> None:
    if answer.done():
        return
    error = future.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(future.result())


def _settle(answer: asyncio.Future[int], future: Future[Any]) -> None:
    if answer.done():
        return
    error = future.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(int(future.result().puback.reason_code))
