"""What has something to write, by the time at which it is due. Pure.

An item is due some time after the first of its changes that are not durable (:func:`wait`), so an
item that changes often is written once an interval, and items that change at different times are
written at different times.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, KeysView
from typing import Final, Generic, Protocol, TypeVar

SPREAD_FROM_S: Final = 10.0
"""From this flush interval on, items that change together are written apart; see :func:`wait`."""

FAIR_BYTES: Final = 4_096
LONGEST_S: Final = 300.0
"""A window of *n* times ``FAIR_BYTES`` is written *n* times less often, up to this interval (s)."""

NEVER: Final = -1
"""The slot of an item that waits for nothing."""

NOT_WRITTEN: Final = -math.inf
"""When an item was last written (monotonic, s) that this process has not written."""


class Queued(Protocol):
    """What can be queued. ``slot`` and ``epoch`` belong to the queue."""

    slot: int
    epoch: int


QueuedT = TypeVar("QueuedT", bound=Queued)


class FlushQueue(Generic[QueuedT]):
    """Items that are not durable, each once, in slots of time.

    An *epoch* is a stretch of the shard's records, counted by the caller. The queue knows of each
    item the epoch of its oldest change, so :attr:`oldest_epoch` says what is durable.
    """

    def __init__(self, flush_s: float) -> None:
        self._step = min(1.0, flush_s / 4)
        self._slots: dict[int, list[QueuedT]] = {}
        self._epochs: Counter[int] = Counter()
        self._first = 0
        self.count = 0

    def add(self, item: QueuedT, due: float, epoch: int) -> None:
        """Queue an item that is not queued yet (``slot`` is :data:`NEVER`); ``due`` is monotonic
        (s)."""
        item.epoch = epoch
        self._epochs[epoch] += 1
        self.count += 1
        self._put(item, due)

    def hasten(self, item: QueuedT, due: float) -> None:
        """Let a queued item be due earlier."""
        if due < item.slot * self._step:
            self._put(item, due)  # its entry in the later slot is stale from now on

    def _put(self, item: QueuedT, due: float) -> None:
        slot = item.slot = int(due / self._step)
        try:
            self._slots[slot].append(item)
        except KeyError:
            self._slots[slot] = [item]
            if slot < self._first or len(self._slots) == 1:
                self._first = slot

    def is_due(self, now: float) -> bool:
        """Whether an item is due."""
        return bool(self._slots) and self._first * self._step <= now

    def take_due(self, now: float) -> list[QueuedT]:
        """Remove and return the items that are due."""
        return self._take([slot for slot in self._slots if slot * self._step <= now])

    def take_all(self) -> list[QueuedT]:
        """Remove and return every item."""
        return self._take(list(self._slots))

    def take_soonest(self) -> Iterator[list[QueuedT]]:
        """Remove and return items, those due soonest first, a slot at a time."""
        for slot in sorted(self._slots):
            yield self._take([slot])

    def take_until(self, epoch: int) -> list[QueuedT]:
        """Remove and return the items with a change of this epoch or an earlier one."""
        old: list[QueuedT] = []
        for slot, items in self._slots.items():
            for item in items:
                if item.slot == slot and item.epoch <= epoch:
                    self._forget(item)
                    old.append(item)
        return old

    def _take(self, slots: Iterable[int]) -> list[QueuedT]:
        taken: list[QueuedT] = []
        for slot in slots:
            for item in self._slots.pop(slot):
                if item.slot == slot:  # not stale, and not taken by an entry before this one
                    self._forget(item)
                    taken.append(item)
        self._first = min(self._slots, default=0)
        return taken

    def _forget(self, item: QueuedT) -> None:
        item.slot = NEVER
        self.count -= 1
        self._epochs[item.epoch] -= 1
        if not self._epochs[item.epoch]:
            del self._epochs[item.epoch]

    @property
    def epochs(self) -> KeysView[int]:
        """The epochs that have a change which is not durable."""
        return self._epochs.keys()

    @property
    def oldest_epoch(self) -> int | None:
        """The epoch of the oldest change that is not durable; ``None`` when all are."""
        return min(self._epochs, default=None)


def wait(
    flush_s: float,
    *,
    share: float,
    size_s: float = 0.0,
    first: bool = False,
    weight: int = 0,
    rested_s: float = 0.0,
) -> float:
    """How long (s) an item may wait for its next write.

    In a short interval, an item that was last written ``rested_s`` ago waits for what is left of
    it: one that changes seldom is written at once, one that changes often once an interval.

    In a long one, items are written apart: ``share`` (0 to 1) is the item's own, see
    :func:`share_of`. A window that lasts no longer than the flush interval waits for its end,
    ``size_s``, and then its share of the rest, so that it is written once. Another item waits the
    whole interval, but its ``first`` write comes after its share of it: items that begin together,
    as every hour's windows do, are written apart from then on. An item of many bytes (``weight``)
    waits longer, so that it costs no more than others.

    >>> wait(1.0, share=0.5, rested_s=0.75), wait(1.0, share=0.5, rested_s=20.0)
    (0.25, 0.0)
    >>> wait(90, share=0.5, size_s=60)
    75.0
    >>> wait(300, share=0.5, size_s=3600, first=True), wait(300, share=0.5, size_s=3600)
    (150.0, 300.0)
    """
    if flush_s < SPREAD_FROM_S:
        spread = min(flush_s, max(0.0, flush_s - rested_s))
    elif size_s and size_s <= flush_s:
        spread = size_s + share * (flush_s - size_s)
    else:
        spread = share * flush_s if first else flush_s
    if weight < FAIR_BYTES:
        return spread
    return max(spread, min(flush_s * (weight // FAIR_BYTES + 1), LONGEST_S))


def share_of(device: str) -> float:
    """A number from 0 to 1 that is for ever the same for a device.

    >>> share_of("dev-1") == share_of("dev-1")
    True
    """
    return (zlib.crc32(device.encode()) & 0xFFFF) / 0x10000
