"""A test double for programs that use :class:`devices.Device`: a broker in memory.

::

    broker = FakeBroker()
    with Device.open(broker.make_folder(tmp_path, "pump-7"), broker=broker) as device:
        device.add({"temperature": 21.5}, ts=1)
    assert broker.readings("pump-7") == [Reading(1, {"temperature": 21.5})]
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

from devices import identity as identities
from devices.errors import ConnectError
from devices.identity import DeviceConfig, Identity
from devices.mqtt.client import WINDOW, Observer, TelemetryClient
from devices.spool.client import ClientFactory
from ingest.message import Message, Reading, decode

_PEM: Final = b"a test device has none\n"


class FakeBroker:
    """Keeps what devices publish. While ``online`` is false it refuses connections and
    acknowledges nothing. It has no shadows, and no worker that makes readings durable."""

    def __init__(self, *, online: bool = True) -> None:
        self.online = online
        self._messages: dict[str, list[Message]] = defaultdict(list)

    def clients(self, device: Identity) -> ClientFactory:
        """What makes this device's clients."""

        def make(
            identity: Identity,
            *,
            window: int = WINDOW,
            observer: Observer | None = None,
            close_s: float = 30.0,
        ) -> TelemetryClient:
            return TelemetryClient(
                identity,
                window=window,
                observer=observer,
                close_s=close_s,
                connection=_Transport(self, device),
            )

        return make

    def messages(self, device_id: str) -> list[Message]:
        """Acknowledged messages of a device, in order of arrival; a message may arrive twice."""
        return list(self._messages[device_id])

    def readings(self, device_id: str) -> list[Reading]:
        """Acknowledged readings of a device, each once, in order of their numbers."""
        found = {
            (message.boot, message.seq + i): reading
            for message in self._messages[device_id]
            for i, reading in enumerate(message.readings)
        }
        return [found[key] for key in sorted(found)]

    def make_folder(self, parent: Path, device_id: str) -> Path:
        """Make a device's folder. Its certificate and key are no real ones."""
        config = DeviceConfig(device_id, "localhost", 8883, "test", None, "default", "generic", "")
        return identities.save(parent / device_id, config, _PEM, _PEM).folder

    def accept(self, device_id: str, payload: bytes) -> int | None:
        """Take a payload; the reason code, ``None`` while offline."""
        if not self.online:
            return None
        message = decode(payload)
        if not isinstance(message, Message):
            raise ValueError(f"{device_id} published no message: {message.detail}")
        self._messages[device_id].append(message)
        return 0


class _Transport:
    def __init__(self, broker: FakeBroker, device: Identity) -> None:
        self._broker = broker
        self._device = device
        self.count = 0

    async def open(self, timeout_s: float) -> None:
        if not self._broker.online:
            raise ConnectError(f"the test broker is offline; waited 0 of {timeout_s:.0f} s")
        self.count += 1

    async def publish(self, topic: str, payload: bytes) -> int | None:  # noqa: ARG002
        return self._broker.accept(self._device.device_id, payload)

    async def stop(self) -> None:
        self._broker = FakeBroker(online=False)
