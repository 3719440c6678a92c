"""The position of a record in its shard."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """Sequence and sub-sequence number of a record; positions of one shard are ordered.

    ``sub`` counts within a KPL aggregate. The sequence number stays the text that the stream
    gave, because the stream expects that text back: converted to a number and back it can differ
    (leading zeros). Sequence numbers of one shard compare by length and then by digits, so
    ``width`` comes first.

    >>> position("99", 0) < position("100", 0)
    True
    """

    width: int
    sequence: str
    sub: int


def position(sequence: str, sub: int) -> Position:
    """The position of a sequence number and a sub-sequence number."""
    return Position(len(sequence), sequence, sub)
