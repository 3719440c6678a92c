"""Presence: a device publishes ``online`` after each connection. ``offline`` is its last will,
which the broker publishes when the connection ends for any reason.

The topic is ``presence/<stack>/<device>`` (QoS 1, not retained), the payload a JSON object
``{"state": "online", "session": "<id>"}``. ``session`` identifies one run of the device: an
``offline`` of an older session than the newest ``online`` is stale and ignored. These messages are
hints for people and dashboards: no telemetry depends on them, and they do not pass its rule.
"""

from __future__ import annotations

import json
import secrets
from typing import Literal

from devices.identity import DeviceConfig
from devices.mqtt.connection import Connection, Will
from ingest.topic import presence_topic

State = Literal["online", "offline"]


class Presence:
    """The presence messages of one run of a device."""

    def __init__(self, device: DeviceConfig, session: str | None = None) -> None:
        self.session = session or secrets.token_hex(4)
        self._topic = presence_topic(device.stack, device.device_id)

    @property
    def will(self) -> Will:
        """The last will that each connection needs."""
        return Will(self._topic, self.message("offline"))

    def message(self, state: State) -> bytes:
        """The payload for a state."""
        return json.dumps({"state": state, "session": self.session}).encode()

    def attach(self, connection: Connection) -> None:
        """Publish ``online`` each time that this connection opens."""

        async def publish_online() -> None:
            await connection.publish(self._topic, self.message("online"))

        connection.on_connect(publish_online)
