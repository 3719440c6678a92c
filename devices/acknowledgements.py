"""Receives durable acknowledgements on a device; :mod:`ingest.acknowledgement` has the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devices.mqtt.connection import Connection
from ingest.acknowledgement import parse
from ingest.id_ranges import Range
from ingest.topic import acknowledgement_topic

OnDurable = Callable[[str, Sequence[Range]], object]
"""Hears a boot, and which of its sequence numbers are durable: sorted, disjoint ranges."""


def hear(connection: Connection, device_id: str, on_durable: OnDurable) -> None:
    """Have ``on_durable`` called, on the event loop, for each boot of each acknowledgement, from
    the next connection on."""

    def handler(payload: bytes) -> None:
        for boot, ranges in parse(payload).items():
            on_durable(boot, ranges)

    connection.subscribe(acknowledgement_topic(device_id), handler)
