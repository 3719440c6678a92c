"""Durable acknowledgements: which readings of which devices are in both stores. Pure.

Imported only where acknowledgements are on. Every reading that has an identity counts, accepted or
not: a late one is in the archive for good, so its device need not keep it.

Ids are told as exact ranges and never as a highest number: of what did not arrive, or arrived in a
shard that is behind, nothing is said.
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


class Taken:
    """Ids of one shard's readings that were taken and not acknowledged, by device."""

    def __init__(self) -> None:
        self._devices: dict[str, IdSet] = {}

    def add(self, device: str, boot: str, seq: int, readings: int) -> None:
        """A message was taken: so many readings of a boot, from ``seq`` on."""
        ids = self._devices.get(device)
        if ids is None:
            ids = self._devices[device] = IdSet()
        ids.add(boot, seq, seq + readings)

    def all(self) -> Sequence[Acknowledgement]:
        """The messages that acknowledge everything taken, which is forgotten with that."""
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
