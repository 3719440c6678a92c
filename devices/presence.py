"""Presence: a device says ``online`` after each connection; ``offline`` is its last will, which
the broker publishes when the connection ends, by the device's wish or not.

The topic is ``presence/penstock/<device>`` (QoS 1, not retained), a JSON object
``{"state": "online", "session": "<id>"}``. ``session`` is one run of the device: an ``offline`` of
a session older than the newest ``online`` is late news. These messages are hints for people and
dashboards; nothing of the telemetry depends on them, and they never pass its rule.
"""

from __future__ import annotations

import json
import secrets
from typing import Literal

from devices.mqtt.connection import Connection, Will
from ingest.topic import presence_topic

State = Literal["online", "offline"]


class Presence:
    """One run of a device, as its peers see it come and go."""

    def __init__(self, device_id: str, session: str | None = None) -> None:
        self.session = session or secrets.token_hex(4)
        self._topic = presence_topic(device_id)

    @property
    def will(self) -> Will:
        """What the connection must be made with."""
        return Will(self._topic, self.message("offline"))

    def message(self, state: State) -> bytes:
        """The payload that says so."""
        return json.dumps({"state": state, "session": self.session}).encode()

    def announce(self, connection: Connection) -> None:
        """Say ``online`` after each connection from now on."""

        async def greeting() -> None:
            await connection.publish(self._topic, self.message("online"))

        connection.after_connecting(greeting)
