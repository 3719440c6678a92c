"""The windows that must exist according to the archive: the worker's fold, into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from consumers.hot.optimistic import Key, Outcome, Statement, Stored
from consumers.hot.store import HotStore
from consumers.hot.windows import Window
from ingest.tiers import Tier
from lake.replay.fold import ArchiveFold
from lake.replay.rows import ArchivedRecord


class _NoItems:
    """A store without an item, into which nothing is written: see
    :class:`consumers.hot.optimistic.Store`."""

    def execute(self, _statements: Sequence[Statement]) -> Sequence[Outcome]:
        raise AssertionError("expected windows are never flushed")

    def read(
        self, _table: str, _key_names: tuple[str, ...], _keys: Sequence[Key]
    ) -> tuple[Stored, Sequence[Key]]:
        return {}, ()


class ExpectedWindows:
    """Folds records of the archive. Holds every window and every reading in memory, so give it a
    part of the devices and a span of time at once."""

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self._hot = HotStore(
            _NoItems(),
            windows_table="",
            devices_table=None,
            tiers=tiers,
            latest_flush_s=1.0,
            now_ms=lambda: 0,
            durable=lambda _device, _runs: None,
        )
        self._fold = ArchiveFold(self._hot, tiers)
        self.newest_arrival: dict[str, int] = {}
        """Device to when the newest of its records arrived (ms)."""

    def fold(self, records: Iterable[ArchivedRecord]) -> None:
        """Fold records in the order of the archive."""
        records = list(records)
        newest = self.newest_arrival
        for record in records:
            device = record.device or ""
            if record.arrived_at > newest.get(device, -1):
                newest[device] = record.arrived_at
        self._fold.fold_all(records)

    @property
    def readings(self) -> int:
        """Accepted rows that were folded, repeated ones included."""
        return self._fold.counts.dispositions["ok"]

    @property
    def refused(self) -> dict[str, int]:
        """Accepted rows that no window took, by disposition: see
        :class:`~lake.replay.fold.FoldCounts`."""
        return {name: n for name, n in self._fold.counts.dispositions.items() if name != "ok"}

    def windows(self) -> Iterator[tuple[Tier, Window]]:
        """Every window with readings, and its tier."""
        for tier in self._hot.tiers:
            for window in tier.open.values():
                if window.n:
                    yield tier.tier, window
