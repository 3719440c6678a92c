"""Batches: the limits of a message, and a message that is ready to be published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from ingest.message import MAX_PAYLOAD_BYTES, MAX_READINGS

ENVELOPE_BYTES: Final = 160
"""Upper bound of a message's size (bytes) without its readings."""


class Outgoing(NamedTuple):
    """A message ready to be published: the identity of its first reading, the number of its
    readings, and its bytes."""

    boot: str
    seq: int
    readings: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a message is full: number of readings, bytes of payload, age (s) of its oldest reading.

    A reading that is larger than ``bytes`` by itself gets a message of its own.

    :raises ValueError: when a limit is outside of the contract's.
    """

    readings: int = 20
    bytes: int = 16 * 1024
    age_s: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.readings <= MAX_READINGS:
            raise ValueError(f"readings a message: 1 to {MAX_READINGS}, not {self.readings}")
        if not 1 <= self.bytes <= MAX_PAYLOAD_BYTES:
            raise ValueError(f"bytes a message: 1 to {MAX_PAYLOAD_BYTES}, not {self.bytes}")
