"""What a connection does each time that it opens: subscribe, then run callbacks.

Each connection is a new MQTT session, so every topic is subscribed again. A message that is
published to a topic while the device is not connected is not delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from awscrt import exceptions, mqtt5

from devices.errors import SubscribeRefusedError

Handler = Callable[[bytes], None]
"""Takes a message's payload. Runs on the event loop."""

OnConnect = Callable[[], Awaitable[None]]

_TOPICS_A_PACKET: Final = 8
"""IoT Core's limit."""
_RETRY_S: Final = 0.5


class Subscriptions:
    """The topics and callbacks of one connection."""

    def __init__(self, device_id: str, send: Callable[[Any], Awaitable[Any]]) -> None:
        """``send`` sends a ``SubscribePacket`` and returns the ``SubackPacket``; it raises
        ``AwsCrtError`` when the connection breaks first."""
        self._device_id = device_id
        self._send = send
        self._handlers: dict[str, Handler] = {}
        self._callbacks: list[OnConnect] = []

    def __bool__(self) -> bool:
        return bool(self._handlers or self._callbacks)

    def add(self, topic: str, handler: Handler) -> None:
        """Subscribe to ``topic`` (no wildcards) from the next connection on."""
        self._handlers[topic] = handler

    def add_callback(self, callback: OnConnect) -> None:
        """Run ``callback`` after each connection, once every topic is subscribed."""
        self._callbacks.append(callback)

    def dispatch(self, topic: str, payload: bytes) -> None:
        """Hand a received message to its topic's handler."""
        handler = self._handlers.get(topic)
        if handler is not None:
            handler(payload)

    async def on_connected(self) -> None:
        """Subscribe to every topic, then run the callbacks in the order they were added.

        :raises SubscribeRefusedError: when the broker refuses topics; the text names them.
        """
        topics = list(self._handlers)
        for start in range(0, len(topics), _TOPICS_A_PACKET):
            await self._subscribe(topics[start : start + _TOPICS_A_PACKET])
        for callback in self._callbacks:
            await callback()

    async def _subscribe(self, topics: Sequence[str]) -> None:
        packet = mqtt5.SubscribePacket(
            subscriptions=[mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE) for topic in topics]
        )
        codes: Sequence[int] = ()
        while not codes:  # cancelled when the connection is lost: the next one subscribes
            try:
                codes = [int(code) for code in (await self._send(packet)).reason_codes]
            except exceptions.AwsCrtError:
                await asyncio.sleep(_RETRY_S)
        refused = [topic for topic, code in zip(topics, codes, strict=True) if code >= 0x80]
        if refused:
            raise SubscribeRefusedError(
                f"the broker does not let {self._device_id} subscribe to {', '.join(refused)}: "
                "its policy must allow iot:Subscribe and iot:Receive"
            )
