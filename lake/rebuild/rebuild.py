"""Make the windows of a time new from the archive, while live traffic goes on.

Chunk by chunk: what the windows must hold is folded from the archive, the stored ones are listed,
and each that differs is replaced (:mod:`lake.rebuild.windows`). Windows that were held back are
tried again once the archive has gone on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls
from consumers.hot.optimistic import Store
from consumers.hot.windows import Window
from ingest.id_ranges import IdSet
from ingest.tables.hot import is_expired
from lake.audit.audit import Range, Stored, folded_parts, start_of
from lake.rebuild.windows import Held, Key, Rebuilt, replace_windows
from lake.replay.expected import ExpectedWindows
from lake.replay.source import ArchiveSource

ROUNDS: Final = 4
"""How often a window is tried again that holds what the archive does not have yet."""


class Summary(Struct):
    """What a rebuild did. ``left`` windows hold ids that the archive does not have; what they
    lacked is added by a replay, as to any window."""

    windows: int = 0
    written: int = 0
    readings: int = 0
    left: int = 0
    left_windows: list[str] = []


class Rebuild:
    """Rebuilds; all of its I/O is in what it is given."""

    def __init__(
        self,
        source: ArchiveSource,
        stored: Stored,
        store: Store,
        table: str,
        *,
        now_ms: Callable[[], int],
        settle: Callable[[int], bool],
        drop: bool = False,
        calls: Calls | None = None,
        backoff: Callable[[], Backoff] = Backoff,
        stopping: Callable[[], bool] = lambda: False,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``settle`` waits until the archive has every record that arrived before a time (ms), and
        answers whether it does. With ``drop`` ids that are not in it then are removed."""
        self._source = source
        self._stored = stored
        self._store = store
        self._table = table
        self._now_ms = now_ms
        self._settle = settle
        self._drop = drop
        self._calls = calls
        self._backoff = backoff
        self._stopping = stopping
        self._progress = progress

    def run(
        self,
        wanted: Range,
        *,
        skip: frozenset[int] = frozenset(),
        done: Callable[[int], None] = lambda _: None,
    ) -> Summary:
        """Rebuild a range. ``done`` is called with the beginning (ms) of each chunk that is new;
        chunks in ``skip`` were so before.

        :raises StoreError, GaveUpError: as the tables do; a repetition goes on.
        """
        summary = Summary()
        held: list[Held] = []
        for start, end in wanted.chunks():
            if self._stopping():
                return summary
            if start in skip:
                continue
            mine = self._chunk(wanted._replace(start=start, end=end), summary, {})
            held += mine
            if not mine:
                done(start)
        held = self._again(wanted, held, summary)
        if not self._stopping():
            for start, _ in wanted.chunks():
                done(start)
        summary.left = len(held)
        summary.left_windows = sorted(f"{one.device} {one.window}" for one in held)
        return summary

    def _again(self, wanted: Range, held: list[Held], summary: Summary) -> list[Held]:
        """Try the windows again that were held back; what is left."""
        for _ in range(ROUNDS):
            if not held or self._stopping():
                break
            self._progress(f"{len(held)} windows hold what is not archived yet: waiting")
            if not self._settle(self._now_ms()):
                break
            drop = {one.key: one.unarchived for one in held} if self._drop else {}
            left: list[Held] = []
            again = Summary()
            keys = {one.key for one in held}
            for start, end in wanted.chunks():
                names = {one.device for one in held if start <= one.start < end}
                if names:
                    part = Range(start, end, sorted(names), wanted.tiers)
                    left += [one for one in self._chunk(part, again, drop) if one.key in keys]
            summary.written += again.written
            held = left
        return held

    def _chunk(self, wanted: Range, summary: Summary, drop: Mapping[Key, IdSet]) -> list[Held]:
        """Rebuild the windows of one chunk; those that were held back."""
        held: list[Held] = []
        for devices, expected in folded_parts(self._source, wanted, self._progress):
            result = self._replace(wanted, devices, expected, drop)
            summary.windows += result.windows
            summary.written += result.written
            summary.readings += expected.readings
            held += result.held
        return held

    def _replace(
        self,
        wanted: Range,
        devices: Sequence[str],
        expected: ExpectedWindows,
        drop: Mapping[Key, IdSet],
    ) -> Rebuilt:
        now_ms = self._now_ms()
        windows = {
            (window.device, window.name): (tier, window)
            for tier, window in expected.windows()
            if window.end + tier.ttl_s * 1000 > now_ms
        }
        for tier in wanted.tiers:
            for item in self._stored.of(devices, tier, wanted.start, wanted.end, consistent=True):
                key = (item["device"]["S"], item["window"]["S"])
                if key not in windows and not is_expired(item, now_ms / 1000):
                    # The archive has no reading of it: it should be empty.
                    windows[key] = tier, Window(*key, start_of(key[1]) + tier.size_ms)
        return replace_windows(
            [*windows.values()], self._store, self._table,
            now_ms=self._now_ms, may_drop=drop, calls=self._calls, backoff=self._backoff,
        )  # fmt: skip
