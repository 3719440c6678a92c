"""Sets of reading ids ``(boot, seq)``, and their text: inclusive ranges a boot, ``"1-60,62"``.

A window item, an acknowledgement and the dashboard hold ids in this text. :func:`parse` reads the
text of one boot; :class:`IdSet` is the mutable set that the worker folds with and writes. In-order
traffic keeps a set at one range a boot, ``{"9f2c61d0": "1-60"}``.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from ingest.message import MAX_INTEGER

Range = tuple[int, int]
"""Sequence numbers from the first to the last, both included."""

HalfOpen = tuple[int, int]
"""Sequence numbers from the first up to, and without, the second."""

RANGE_BYTES: Final = 34
"""The most that one range takes as text: two numbers of 16 digits, a hyphen and a comma."""

BOOT_BYTES: Final = 40
"""The most that one boot takes beside its ranges: its name of up to 36 characters, and what
DynamoDB counts for an entry of a map."""

_RANGE: Final = re.compile(r"([0-9]{1,16})(?:-([0-9]{1,16}))?", re.ASCII)


def parse(text: str) -> list[Range]:
    """Read the ranges of one boot: sorted, with a gap between each two.

    >>> parse("1-60,62")
    [(1, 60), (62, 62)]

    :raises ValueError: when the text is anything else, an empty one included.
    """
    ranges: list[Range] = []
    free = 0  # the first number that the next range may begin with
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"not a range of ids: {part[:80]!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not free <= first <= last <= MAX_INTEGER:
            raise ValueError(f"not sorted, disjoint ranges: {text[:80]!r}")
        ranges.append((first, last))
        free = last + 2
    return ranges


class IdSet:
    """A mutable set of ``(boot, seq)``.

    Each boot's numbers are a flat, sorted list of half-open bounds ``[start, end, start, end,
    …]``: a number is in the set when an odd count of bounds is at or below it.
    """

    __slots__ = ("bounds", "ranges")

    def __init__(self) -> None:
        self.bounds: dict[str, list[int]] = {}
        self.ranges = 0

    def add(self, boot: str, start: int, end: int) -> Sequence[HalfOpen]:
        """Add the numbers from ``start`` up to, and without, ``end``; return those of them that
        were not here yet, as sorted ranges."""
        bounds = self.bounds.get(boot)
        if bounds is None:
            self.bounds[boot] = [start, end]
            self.ranges += 1
            return ((start, end),)
        newest = bounds[-1]
        if newest == start:  # the next in order
            bounds[-1] = end
            return ((start, end),)
        if newest < start:
            bounds += (start, end)
            self.ranges += 1
            return ((start, end),)
        return self._insert(bounds, start, end)

    def _insert(self, bounds: list[int], start: int, end: int) -> Sequence[HalfOpen]:
        """Unite the range with those that it overlaps or touches; the gaps it filled."""
        left, right = bisect_left(bounds, start), bisect_right(bounds, end)
        opens = [] if left & 1 else [start]  # an odd index: inside a range, or at its end
        closes = [] if right & 1 else [end]
        edges = [*opens, *bounds[left:right], *closes]
        bounds[left:right] = opens + closes
        self.ranges += (len(opens) + len(closes) - (right - left)) // 2
        return [(a, b) for a, b in zip(edges[0::2], edges[1::2], strict=True) if a < b]

    def __contains__(self, identity: tuple[str, int]) -> bool:
        bounds = self.bounds.get(identity[0])
        return bounds is not None and bool(bisect_right(bounds, identity[1]) & 1)

    def __len__(self) -> int:
        return sum(sum(b[1::2]) - sum(b[0::2]) for b in self.bounds.values())

    def weight(self) -> int:
        """The most bytes that the set takes in an item."""
        return RANGE_BYTES * self.ranges + BOOT_BYTES * len(self.bounds)

    def dump(self) -> dict[str, str]:
        """Boot to inclusive ranges, as stored: ``{"9f2c61d0": "1-60,62"}``."""
        return {boot: _format(bounds) for boot, bounds in self.bounds.items()}

    @classmethod
    def load(cls, stored: Mapping[str, str]) -> IdSet:
        """The set that :meth:`dump` wrote.

        :raises ValueError: as :func:`parse` does.
        """
        ids = cls()
        for boot, text in stored.items():
            ends = ((first, last + 1) for first, last in parse(text))
            ids.bounds[boot] = [*chain.from_iterable(ends)]
        ids.ranges = sum(len(bounds) // 2 for bounds in ids.bounds.values())
        return ids


def _format(bounds: list[int]) -> str:
    return ",".join(
        str(start) if end == start + 1 else f"{start}-{end - 1}"
        for start, end in zip(bounds[0::2], bounds[1::2], strict=True)
    )
