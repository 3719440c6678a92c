"""Numbers and batches the readings of a virtual device that has no spool."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from devices.batch import ENVELOPE_BYTES, BatchLimits, Outgoing
from ingest.message import VERSION, Content, Message, Reading, encode, write


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
        if self._open and self._size + size + ENVELOPE_BYTES > self._limits.bytes:
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
