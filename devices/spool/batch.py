"""A batch: consecutive readings of a spool that become one message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from devices.spool.database import Row
from ingest.message import VERSION, Content, Message, Reading, encode


class Batch(NamedTuple):
    """Readings with consecutive numbers of one boot. ``first`` and ``last`` are positions in the
    spool."""

    first: int
    last: int
    boot: str
    seq: int
    readings: tuple[Reading, ...]

    def payload(self, content: Content = "json") -> bytes:
        """The batch as a message of the contract. JSON when only JSON is small enough."""
        message = Message(VERSION, self.boot, self.seq, list(self.readings))
        if content != "json":
            with contextlib.suppress(ValueError):
                return encode(message, content)
        return encode(message)


def first_batch(rows: Iterable[Row], size: int) -> Batch | None:
    """The first rows that fit in one message of ``size`` bytes; at least one row is taken.

    :raises msgspec.MsgspecError: when a row is damaged.
    """
    taken: list[Row] = []
    total = 0
    for row in rows:
        total += len(row.reading) + 1
        if taken and (
            total > size or row.boot != taken[0].boot or row.seq != taken[0].seq + len(taken)
        ):
            break
        taken.append(row)
    if not taken:
        return None
    first = taken[0]
    readings = tuple(msgspec.json.decode(row.reading, type=Reading) for row in taken)
    return Batch(first.position, taken[-1].position, first.boot, first.seq, readings)
