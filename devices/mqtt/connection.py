"""One device's MQTT 5 connection on the AWS IoT Device SDK, as coroutines of one event loop.

It reconnects by itself, with full jitter. The SDK publishes again after a reconnection what was
not acknowledged when the connection broke.

The SDK runs its callbacks on its own threads; each of them only schedules a method on the event
loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple

from awscrt import exceptions, mqtt5
from awsiot import mqtt5_client_builder

from devices.errors import ConnectError
from devices.identity import Identity
from devices.mqtt import connect_errors
from devices.mqtt.connect_errors import NOT_AUTHORIZED
from devices.mqtt.subscriptions import Handler, OnConnect, Subscriptions
from devices.mqtt.token import client_with_token

ACK_S: Final = 30
KEEP_ALIVE_S: Final = 30
STOP_S: Final = 3.0
SILENCE_S: Final = 5.0
"""How long (s) a broker may be silent before the TLS handshake is examined."""
_RECONNECT_MS: Final = (500, 20_000)
_UNSENDABLE: Final = frozenset(
    {
        "AWS_ERROR_MQTT5_PACKET_VALIDATION",
        "AWS_ERROR_MQTT5_PUBLISH_OPTIONS_VALIDATION",
        "AWS_ERROR_MQTT5_ENCODE_FAILURE",
    }
)
"""Errors of the SDK that the same packet meets each time."""


OnError = Callable[[BaseException], object]


class UnsendableError(Exception):
    """The SDK cannot send this packet, now or later; the text is its error."""


class Will(NamedTuple):
    """What the broker publishes (QoS 1) when the connection ends for any reason."""

    topic: str
    payload: bytes


class Connection:
    """A connection that is built and not open yet. Needs a running event loop."""

    def __init__(
        self, identity: Identity, *, will: Will | None = None, on_error: OnError | None = None
    ) -> None:
        """``on_error`` receives what fails in the background: a refused subscription, an exception
        of a handler or callback. Without one the event loop's exception handler receives it.

        :raises ConnectError: when certificate, key or CA certificate cannot be used.
        """
        self._identity = identity
        self._will = will
        self._on_error = on_error or self._report_to_loop
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._unanswered: set[asyncio.Future[int]] = set()
        self._subscriptions = Subscriptions(identity.device_id, self._send_subscribe)
        self._subscribing: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._on_lost: list[Callable[[str], object]] = []
        self._started = False
        self._last_error = ""
        self._client = self._build()
        self.count = 0
        """How many times it was opened: 1, and one for each reconnection."""

    async def open(self, timeout_s: float) -> None:
        """Connect for the first time.

        :raises ConnectError: when the broker refuses, or does not answer within ``timeout_s``.
        """
        self._started = True
        self._client.start()
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait_until_open()
        except TimeoutError:
            why = connect_errors.no_answer(self._identity.config, timeout_s, self._last_error)
            await self.stop()
            raise ConnectError(why) from None
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
        self._unanswered.add(answer)
        try:
            future: Future[Any] = self._client.publish(packet)
            future.add_done_callback(self._on_loop(_copy_result, answer, _puback_code))
            return await answer
        except exceptions.AwsCrtError as error:
            if error.name in _UNSENDABLE:
                raise UnsendableError(error.name) from None
            return None
        finally:
            self._unanswered.discard(answer)

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Call ``handler`` with each message to this topic (no wildcards), from the next
        connection on and after each reconnection. Call this before :meth:`open`.

        A refusal is reported to ``on_error`` as a :class:`~devices.errors.SubscribeRefusedError`.
        """
        self._subscriptions.add(topic, handler)

    def on_connect(self, callback: OnConnect) -> None:
        """Run ``callback`` after each connection, once every topic is subscribed."""
        self._subscriptions.add_callback(callback)

    def on_lost(self, callback: Callable[[str], object]) -> None:
        """Call ``callback`` with a sentence each time that the connection is lost or cannot be
        opened yet."""
        self._on_lost.append(callback)

    def publish_nowait(self, topic: str, payload: bytes) -> None:
        """Publish once with QoS 1 without waiting: for state that the next connection publishes
        again. A refusal is reported to ``on_error``."""
        self._start(self._publish_state(topic, payload))

    async def stop(self) -> None:
        """Disconnect for good. What is not acknowledged is not sent again."""
        self._opened.cancel()
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        if self._started:
            self._started = False
            self._client.stop(mqtt5.DisconnectPacket(reason_code=self._disconnect_reason()))
            await asyncio.wait([self._stopped], timeout=STOP_S)

    # -- sending ---------------------------------------------------------------------------

    async def _publish_state(self, topic: str, payload: bytes) -> None:
        if await self.publish(topic, payload) == NOT_AUTHORIZED:
            device = self._identity.device_id
            raise UnsendableError(f"the broker refuses a message of {device} to {topic}")

    async def _send_subscribe(self, packet: Any) -> Any:
        answer: asyncio.Future[Any] = self._loop.create_future()
        future: Future[Any] = self._client.subscribe(packet)
        future.add_done_callback(self._on_loop(_copy_result, answer, _unchanged))
        return await answer

    def _disconnect_reason(self) -> mqtt5.DisconnectReasonCode:
        if self._will is None:
            return mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION
        return mqtt5.DisconnectReasonCode.DISCONNECT_WITH_WILL_MESSAGE

    async def _wait_until_open(self) -> None:
        """Wait for the broker's answer, or for the reason why none will come."""
        await asyncio.wait([self._opened], timeout=SILENCE_S)
        if not self._opened.done():
            fault = await asyncio.to_thread(connect_errors.tls_fault, self._identity)
            if fault is not None:
                raise ConnectError(connect_errors.untrusted(self._identity.config, fault))
        await asyncio.shield(self._opened)

    # -- the SDK's client -------------------------------------------------------------------

    def _build(self) -> Any:
        config, token = self._identity.config, self._identity.token
        certificate, key = self._identity.certificate_path, self._identity.key_path
        make = (
            partial(mqtt5_client_builder.mtls_from_path, str(certificate), str(key))
            if token is None
            else partial(client_with_token, token, certificate)
        )
        try:
            return make(
                endpoint=config.host,
                port=config.port,
                ca_filepath=config.ca_path,
                client_id=config.device_id,
                keep_alive_interval_sec=KEEP_ALIVE_S,
                ack_timeout_sec=ACK_S,
                retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.FULL,
                min_reconnect_delay_ms=_RECONNECT_MS[0],
                max_reconnect_delay_ms=_RECONNECT_MS[1],
                will=self._will_packet(),
                on_publish_received=self._on_loop(self._on_message),
                on_lifecycle_connection_success=self._on_loop(self._on_connected),
                on_lifecycle_connection_failure=self._on_loop(self._on_failed),
                on_lifecycle_disconnection=self._on_loop(self._on_disconnected),
                on_lifecycle_stopped=self._on_loop(self._on_stopped),
            )
        except (OSError, RuntimeError, exceptions.AwsCrtError) as error:
            raise ConnectError(connect_errors.unusable_files(self._identity, error)) from None

    def _will_packet(self) -> Any:
        if self._will is None:
            return None
        return mqtt5.PublishPacket(
            topic=self._will.topic, payload=self._will.payload, qos=mqtt5.QoS.AT_LEAST_ONCE
        )

    def _on_loop(self, function: Callable[..., object], *first: Any) -> Callable[[Any], None]:
        """A callback for the SDK's threads that runs ``function`` on the event loop."""

        def callback(argument: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(partial(function, *first, argument))

        return callback

    def _start(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._on_error(error)

    def _report_to_loop(self, error: BaseException) -> None:
        self._loop.call_exception_handler({"message": str(error), "exception": error})

    def _on_connected(self, _: Any) -> None:
        self.count += 1
        if not self._opened.done():
            self._opened.set_result(None)
        if self._started and self._subscriptions:
            if self._subscribing is not None:
                self._subscribing.cancel()
            self._subscribing = self._start(self._subscriptions.on_connected())

    def _on_message(self, received: Any) -> None:
        packet = received.publish_packet
        try:
            self._subscriptions.dispatch(packet.topic, packet.payload or b"")
        except Exception as error:  # noqa: BLE001 - a handler's error must not stop the connection
            self._on_error(error)

    def _on_failed(self, failure: Any) -> None:
        self._last_error = connect_errors.error_name(failure)
        if not self._opened.done():
            reason = connect_errors.final_reason(self._identity.config, failure)
            if reason is not None:
                self._opened.set_exception(ConnectError(reason))
                return
        self._call_on_lost(failure)

    def _on_disconnected(self, event: Any) -> None:
        """On AWS a refused publish ends the connection; which of those in flight was refused
        cannot be told, so all of them are."""
        packet = event.disconnect_packet
        if packet is not None and int(packet.reason_code) == NOT_AUTHORIZED:
            for answer in self._unanswered:
                if not answer.done():
                    answer.set_result(NOT_AUTHORIZED)
        self._call_on_lost(event)

    def _call_on_lost(self, event: Any) -> None:
        if self._started:
            for callback in self._on_lost:
                callback(connect_errors.no_connection(self._identity.config, event))

    def _on_stopped(self, _: Any) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)


def _copy_result(
    answer: asyncio.Future[Any], convert: Callable[[Any], Any], future: Future[Any]
) -> None:
    """Give the outcome of the SDK's future to a future of the event loop."""
    if answer.done():
        return
    error = future.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(convert(future.result()))


def _puback_code(result: Any) -> int:
    return int(result.puback.reason_code)


def _unchanged(result: Any) -> Any:
    return result
