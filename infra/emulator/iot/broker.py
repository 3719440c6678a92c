"""The broker's limits on a connection, and what IoT Core meters."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from infra.emulator.limits.mqtt import Connection, Fate, payload_bytes, steps
from infra.emulator.world import World

_TOO_LARGE: Final = 0x95  # MQTT 5: packet too large
_BASIC_INGEST: Final = b"$aws/rules/"
_MQTT_5: Final = 5
_LIMITS: Final = "_penstock_limits"  # a session's attribute


def limit_connections(world: World) -> None:
    """Discard publishes beyond 100 a second, delay bytes beyond 512 KB a second, end a connection
    whose payload is too large; and meter what passes."""
    from ministack.services import iot

    session_class = iot._WSSession
    dispatch, deliver = session_class._dispatch_packet, session_class.deliver_to_client
    _ = (iot._make_disconnect, iot.PKT_PUBLISH, iot.PKT_CONNECT)

    async def dispatch_packet(session: Any, kind: int, flags: int, body: bytes) -> bool:
        if kind == iot.PKT_CONNECT:
            world.meters.add("iot", "connects")
        if kind != iot.PKT_PUBLISH:
            return bool(await dispatch(session, kind, flags, body))
        fate = await _publish(session, flags, body)
        if fate is Fate.TOO_LARGE and session.protocol_version == _MQTT_5:
            await session.send_bytes(iot._make_disconnect(_TOO_LARGE))
        if fate is Fate.TAKEN:
            return bool(await dispatch(session, kind, flags, body))
        return fate is Fate.DISCARDED

    async def _publish(session: Any, flags: int, body: bytes) -> Fate:
        now = world.clock()
        connection: Connection = session.__dict__.setdefault(_LIMITS, Connection(now))
        size = payload_bytes(
            body,
            acknowledged=bool(flags & 0x06),
            properties=session.protocol_version == _MQTT_5,
        )
        fate = connection.publish(size, now)
        if fate is not Fate.TAKEN:
            world.meters.add("iot", fate.name.lower())
            return fate
        world.meters.add("iot", "publishes")
        if body[2 : 2 + len(_BASIC_INGEST)] != _BASIC_INGEST:
            world.meters.add("iot", "message_steps", by=steps(size))
        if wait := connection.delay(len(body), now):
            await asyncio.sleep(wait)
        return fate

    async def deliver_to_client(session: Any, topic: str, payload: bytes, qos: int) -> None:
        world.meters.add("iot", "message_steps", by=steps(len(payload)))
        await deliver(session, topic, payload, qos)

    session_class._dispatch_packet = dispatch_packet
    session_class.deliver_to_client = deliver_to_client
