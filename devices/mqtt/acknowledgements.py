"""Receives durable acknowledgements on a device; :mod:`ingest.acknowledgement` has the format.

An acknowledgement can come twice, and can be lost: a reading that is not acknowledged for a while
is published again with the same identity, and is acknowledged then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devices.identity import DeviceConfig
from devices.mqtt.connection import Connection
from ingest.acknowledgement import parse
from ingest.id_ranges import Range
from ingest.topic import acknowledgement_topic

OnDurable = Callable[[str, Sequence[Range]], object]
"""Called with a boot and its durable sequence numbers: sorted, disjoint ranges."""


def subscribe_acknowledgements(
    connection: Connection, device: DeviceConfig, on_durable: OnDurable
) -> None:
    """Call ``on_durable``, on the event loop, with each boot of each acknowledgement, from the
    next connection on."""

    def handler(payload: bytes) -> None:
        for boot, ranges in parse(payload).items():
            on_durable(boot, ranges)

    connection.subscribe(acknowledgement_topic(device.stack, device.device_id), handler)
