"""Durable acknowledgements, as a device hears them: which of its readings are in both stores.

``ack/penstock/<device>`` carries ``{"boots": {"<boot>": "1-60,62"}}``: inclusive ranges of the ids
that are durable, in the hot store and in the archive. Not named is not acknowledged, whatever is
named around it. An acknowledgement can come twice, and can be lost: what is not acknowledged for a
while is published again, with the same identity, and is acknowledged then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from devices.mqtt.connection import Connection
from ingest import id_ranges
from ingest.id_ranges import Range
from ingest.topic import acknowledgement_topic

OnDurable = Callable[[str, Sequence[Range]], object]
"""Hears a boot, and which of its sequence numbers are durable: sorted, disjoint ranges."""


class _Acknowledgement(Struct):
    boots: dict[str, str]


_decode: Final = msgspec.json.Decoder(_Acknowledgement).decode


def parse(payload: bytes) -> Mapping[str, Sequence[Range]]:
    """The acknowledged sequence numbers by boot.

    :raises ValueError: when this is no acknowledgement; then nothing of it counts.
    """
    try:
        boots = _decode(payload).boots
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not an acknowledgement: {error}") from None
    return {boot: id_ranges.parse(text) for boot, text in boots.items()}


def hear(connection: Connection, device_id: str, on_durable: OnDurable) -> None:
    """Have ``on_durable`` called, on the event loop, for each boot of each acknowledgement, from
    the next connection on."""

    def handler(payload: bytes) -> None:
        for boot, ranges in parse(payload).items():
            on_durable(boot, ranges)

    connection.subscribe(acknowledgement_topic(device_id), handler)
