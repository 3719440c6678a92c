"""The worker's fold for records of the archive.

Everything from the fold queue on is the worker's own code: runs, lateness by tier, room, windows,
optimistic writes. What is left out is what only a stream has: decoding, and the archive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from consumers.hot.lateness import LatenessPolicy
from consumers.hot.store import HotStore
from consumers.record import ShardRecord
from consumers.shard.fold_queue import FoldQueue
from ingest.message import Message, Rejection
from ingest.tiers import Tier
from lake.replay.rows import ArchivedRecord

_ANY_CLOCK_S: Final = 1 << 40
"""What the archive has as ``ok`` was not ahead of the clock by the setting of its day."""


class FoldCounts:
    """What became of the readings that were given to the fold. ``dispositions`` other than ``ok``
    are readings that no tier takes (``late``) or for which a window had no room (``overflow``):
    both can only be when tiers were changed since they arrived."""

    def __init__(self) -> None:
        self.dispositions: Counter[str] = Counter()

    def count(self, disposition: str, readings: int = 1) -> None:
        """See :class:`consumers.shard.fold_queue.FoldStats`."""
        self.dispositions[disposition] += readings

    def reject(
        self, device: str | None, disposition: str, raw: bytes, at: int, readings: int = 1
    ) -> None:
        """See :class:`consumers.shard.fold_queue.FoldStats`: it is in the archive already."""

    def on_ages(self, device: str, least_ms: int, greatest_ms: int) -> None:
        """See :class:`consumers.shard.fold_queue.FoldStats`: a replay has no latency."""

    def on_outside(self, device: str, readings: int) -> None:
        """See :class:`consumers.shard.fold_queue.FoldStats`: a replay asks no schemas."""


class ArchiveFold(FoldQueue):
    """A fold queue for records of the archive, in the order of the archive."""

    def __init__(self, hot: HotStore, tiers: Sequence[Tier]) -> None:
        self.counts = FoldCounts()
        super().__init__(hot, LatenessPolicy(tiers, _ANY_CLOCK_S), self.counts)

    def decoded(self, records: Sequence[ShardRecord]) -> Iterable[Message | Rejection]:
        """The messages that the records were read with."""
        return [record.message for record in records if isinstance(record, ArchivedRecord)]

    def fold_all(self, records: Iterable[ArchivedRecord]) -> None:
        """Fold records, all of a device's being later than those that were folded before.

        :raises StoreError, GaveUpError: as :meth:`~consumers.shard.fold_queue.FoldQueue.fold`.
        """
        for record in records:
            self.add(record, record.received_at / 1000)  # what is oldest is due first
        self.fold()
