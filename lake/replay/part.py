"""The fold of one part of the devices from the archive into the hot tables.

What is folded is written when much waits, as by a worker that catches up, and everything at the
end. A part may be stopped, killed or repeated at any point: what is in a window already is a
duplicate, and what is not will be folded by the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls
from consumers.hot.optimistic import Store
from consumers.hot.runs import Kept
from consumers.hot.store import HotStore
from ingest.tiers import Tier
from lake.replay.fold import ArchiveFold
from lake.replay.rows import ArchivedRecord, Selection
from lake.replay.source import ArchiveSource

FOLD_READINGS: Final = 100_000
"""Readings that are folded at once: the more, the longer the runs."""


class Replayed(Struct):
    """What a part has done so far. ``readings`` were folded or found folded; ``added`` of them
    became durable now, in the finest tier that was replayed; ``windows`` were written. ``refused``
    are readings that no window took, by disposition. ``seconds`` were spent, of which ``waited`` to
    keep to a rate."""

    segments: int = 0
    segments_done: int = 0
    readings: int = 0
    added: int = 0
    windows: int = 0
    conflicts: int = 0
    refused: dict[str, int] = {}
    seconds: float = 0.0
    waited: float = 0.0
    stopped: bool = False


class Target(Struct, frozen=True):
    """Where a replay writes: the windows table, the roster's table unless windows alone are wanted,
    and the tiers."""

    windows_table: str
    devices_table: str | None
    tiers: tuple[Tier, ...]


class Replay:
    """Replays selections of an archive; all of its I/O is in what it is given."""

    def __init__(
        self,
        source: ArchiveSource,
        store: Store,
        target: Target,
        *,
        now_ms: Callable[[], int],
        rate: float | None = None,
        calls: Calls | None = None,
        backoff: Callable[[], Backoff] = Backoff,
        stopping: Callable[[], bool] = lambda: False,
        progress: Callable[[Replayed], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``rate`` is the most readings a second."""
        self._source = source
        self._store = store
        self._target = target
        self._now_ms = now_ms
        self._rate = rate
        self._calls = calls
        self._backoff = backoff
        self._stopping = stopping
        self._progress = progress
        self._sleep = sleep
        self._clock = clock
        self._began = clock()
        self.done = Replayed()

    def run(self, selection: Selection) -> Replayed:
        """Fold a selection. Windows that have expired are left alone.

        :raises StoreError, GaveUpError: when the tables refuse, or stay busy for two minutes. What
            was written by then is right, and a repetition goes on.
        """
        for start, end, tiers in live_spans(selection, self._target.tiers, self._now_ms()):
            if self._stopping():
                break
            self._fold_span(selection._replace(start=start, end=end), tiers)
        self.done.stopped = self._stopping()
        self._tell()
        return self.done

    def _fold_span(self, selection: Selection, tiers: Sequence[Tier]) -> None:
        hot = HotStore(
            self._store,
            windows_table=self._target.windows_table,
            devices_table=self._target.devices_table,
            tiers=tiers,
            latest_flush_s=1.0,
            now_ms=self._now_ms,
            durable=self._durable,
            backoff=self._backoff,
            calls=self._calls,
        )
        fold = ArchiveFold(hot, tiers)
        done = self.done
        before, refused = done.conflicts, done.refused
        windows = done.windows
        for records in self._chunks(selection):
            fold.fold_all(records)
            hot.flush_due(0.0, timers=False)
            hot.forget_idle()
            done.windows = windows + sum(tier.writer.items_written for tier in hot.tiers)
            self._tell()
            self._keep_to_rate()
        hot.flush_all()
        done.windows = windows + sum(tier.writer.items_written for tier in hot.tiers)
        done.conflicts = before + hot.conflicts
        for name, count in fold.counts.dispositions.items():
            if name != "ok":
                refused[name] = refused.get(name, 0) + count

    def _chunks(self, selection: Selection) -> Iterator[list[ArchivedRecord]]:
        """Records in pieces of about :data:`FOLD_READINGS` readings, or of a second's to keep to a
        rate."""
        most = min(FOLD_READINGS, max(1, int(self._rate or FOLD_READINGS)))
        segments = self._source.listed(selection)
        self.done.segments += len(segments)
        chunk: list[ArchivedRecord] = []
        waiting = 0
        for records in self._source.read(segments, selection):
            self.done.segments_done += 1
            for record in records:
                chunk.append(record)
                waiting += record.readings
                if waiting >= most:
                    self.done.readings += waiting
                    yield chunk
                    if self._stopping():
                        return
                    chunk, waiting = [], 0
        self.done.readings += waiting
        yield chunk

    def _keep_to_rate(self) -> None:
        if self._rate:
            ahead = self.done.readings / self._rate - (self._clock() - self._began)
            if ahead > 0:
                self.done.waited += ahead
                self._sleep(ahead)

    def _durable(self, _device: str, kept: Sequence[Kept]) -> None:
        self.done.added += sum(map(len, kept))

    def _tell(self) -> None:
        self.done.seconds = self._clock() - self._began
        self._progress(self.done)


def live_spans(
    selection: Selection, tiers: Sequence[Tier], now_ms: int
) -> Iterator[tuple[int, int, tuple[Tier, ...]]]:
    """The selection's time (ms) in pieces, each with the tiers whose windows have not expired in
    it; nothing of a time in which all have.

    >>> minutes, hours = Tier("1m", 1, 3600), Tier("1h", 1, 86_400)
    >>> spans = live_spans(Selection(0, 7_200_000), (minutes, hours), now_ms=7_260_000)
    >>> [(start, end, [tier.name for tier in live]) for start, end, live in spans]
    [(0, 3600000, ['1h']), (3600000, 7200000, ['1m', '1h'])]
    """
    bounds = {tier: _first_live(tier, now_ms) for tier in tiers}
    inner = {at for at in bounds.values() if selection.start < at < selection.end}
    cuts = sorted({selection.start, selection.end, *inner})
    for start, end in pairwise(cuts):
        if live := tuple(tier for tier in tiers if bounds[tier] <= start):
            yield start, end, live


def _first_live(tier: Tier, now_ms: int) -> int:
    """The beginning (ms) of the oldest window that has not expired."""
    ended = now_ms - tier.ttl_s * 1000 - tier.size_ms  # a window that begins here expires now
    return ended - ended % tier.size_ms + tier.size_ms
