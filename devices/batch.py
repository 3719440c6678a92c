"""Numbering and batching: readings in, messages out. No clock and no socket."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from ingest.message import (
    MAX_PAYLOAD_BYTES,
    MAX_READINGS,
    VERSION,
    Content,
    Message,
    Reading,
    encode,
    write,
)

ROOM: Final = 160  # bytes of a message around its readings, with margin


class Outgoing(NamedTuple):
    """A message ready to be published: what it holds and its bytes."""

    boot: str
    seq: int
    readings: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a message is full: readings, bytes of payload, and the age (s) of its oldest.

    A reading that is greater than ``bytes`` by itself gets a message of its own.
    """

    readings: int = 20
    bytes: int = 16 * 1024
    age_s: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.readings <= MAX_READINGS:
            raise ValueError(f"readings a message: 1 to {MAX_READINGS}, not {self.readings}")
        if not 1 <= self.bytes <= MAX_PAYLOAD_BYTES:
            raise ValueError(f"bytes a message: 1 to {MAX_PAYLOAD_BYTES}, not {self.bytes}")


class Batcher:
    """Numbers readings and cuts them into messages.

    ``boot`` is new for each batcher: the counter begins at 0 with it, and ids of two batchers
    never meet. ``content`` is how messages are written.
    """

    def __init__(
        self, limits: BatchLimits, boot: str | None = None, *, content: Content = "json"
    ) -> None:
        self._limits = limits
        self._content = content
        self.boot = boot or secrets.token_hex(8)
        self._next = 0
        self._open: list[Reading] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, ts: int, metrics: Mapping[str, float | bool]) -> list[Outgoing]:
        """Take a reading; the messages, none to two, that are now ready.

        :raises ValueError: when the reading breaks the contract; it is not numbered then.
        """
        reading = Reading(ts, dict(metrics))
        encode(Message(VERSION, self.boot, self._next, [reading]), self._content)
        size = len(write(reading, self._content)) + 1
        ready = []
        if self._open and self._size + size + ROOM > self._limits.bytes:
            ready += self.flush()
        self._open.append(reading)
        self._size += size
        if len(self._open) >= self._limits.readings:
            ready += self.flush()
        return ready

    def flush(self) -> list[Outgoing]:
        """The open message, if there is one."""
        if not self._open:
            return []
        readings, self._open, self._size = self._open, [], 0
        payload = encode(Message(VERSION, self.boot, self._next, readings), self._content)
        outgoing = Outgoing(self.boot, self._next, len(readings), payload)
        self._next += len(readings)
        return [outgoing]
