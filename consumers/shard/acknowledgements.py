"""The readings of a shard that are to be acknowledged to their devices. Pure.

Imported only where acknowledgements are on. Every reading with an identity is acknowledged,
whatever its disposition: a late one is in the archive, so its device need not keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ingest.acknowledgement import messages
from ingest.id_ranges import IdSet
from ingest.topic import acknowledgement_topic


class Acknowledgement(NamedTuple):
    """One message to one device."""

    topic: str
    payload: bytes


class UnacknowledgedIds:
    """Ids of one shard's readings that were read and are not acknowledged yet, by device."""

    def __init__(self, stack: str) -> None:
        self._stack = stack
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
            Acknowledgement(acknowledgement_topic(self._stack, device), payload)
            for device, ids in devices.items()
            for payload in messages(ids.dump())
        ]
