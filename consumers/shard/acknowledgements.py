"""The readings of a shard that are to be acknowledged to their devices. Pure.

Imported only where acknowledgements are on. Every reading with an identity is acknowledged,
whatever its disposition: a late one is in the archive, so its device need not keep it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from ingest.id_ranges import IdSet
from ingest.topic import acknowledgement_topic

MESSAGE_BYTES: Final = 100_000
"""Of ranges in one message; IoT Core takes 128 KiB."""


class Acknowledgement(NamedTuple):
    """One message to one device."""

    topic: str
    payload: bytes


class UnacknowledgedIds:
    """Ids of one shard's readings that were read and are not acknowledged yet, by device."""

    def __init__(self) -> None:
        self._devices: dict[str, IdSet] = {}

    def add(self, device: str, boot: str, seq: int, readings: int) -> None:
        """A message was read: ``readings`` readings of a boot, from ``seq`` on."""
        ids = self._devices.get(device)
        if ids is None:
            ids = self._devices[device] = IdSet()
        ids.add(boot, seq, seq + readings)

    def pop_all(self) -> Sequence[Acknowledgement]:
        """The messages that acknowledge every id, which are forgotten with that."""
        devices, self._devices = self._devices, {}
        return [
            Acknowledgement(acknowledgement_topic(device), msgspec.json.encode({"boots": boots}))
            for device, ids in devices.items()
            for boots in cut(ids.dump())
        ]


def cut(boots: Mapping[str, str], limit: int = MESSAGE_BYTES) -> Iterator[dict[str, str]]:
    """The same ranges in as few mappings as hold ``limit`` characters of them each."""
    made: dict[str, str] = {}
    room = limit
    for boot, text in boots.items():
        for part in _parts(text, limit - len(boot) - _QUOTES):
            weight = len(boot) + len(part) + _QUOTES
            if made and (boot in made or weight > room):
                yield made
                made, room = {}, limit
            made[boot] = part
            room -= weight
    if made:
        yield made


_QUOTES: Final = 6


def _parts(text: str, limit: int) -> Iterator[str]:
    """The text in parts of whole ranges, each of ``limit`` characters at most."""
    while len(text) > limit:
        end = text.rfind(",", 0, limit + 1)
        if end < 0:
            break
        yield text[:end]
        text = text[end + 1 :]
    yield text
