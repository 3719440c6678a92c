"""Replaces stored windows by the fold of the archive, each by one conditional write.

The rule, once: a window is replaced under the version that was read, and only when the archive has
every id that it holds. So what live traffic added is never taken away: a reading that is in the hot
table and not yet in the archive holds the window back, and a worker that writes in between makes
the write a conflict, after which the window is read and judged again. An item is never deleted: a
version that began anew could be mistaken for the one that a worker remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls
from consumers.hot.items import Attributes, AttributeValue, WindowCodec, load_window
from consumers.hot.optimistic import OptimisticWriter, Store, Work, write_all
from consumers.hot.windows import Window
from ingest.id_ranges import IdSet
from ingest.tiers import Tier
from lake.audit.differences import beyond, count_beyond, difference

Key = tuple[str, str]
"""Device and window name."""

_NO_IDS: Final = IdSet()


class Held(Struct):
    """A window that was left as it is, because it holds ids that the archive does not have."""

    device: str
    window: str
    start: int
    end: int
    unarchived: IdSet

    @property
    def key(self) -> Key:
        """Device and window name."""
        return self.device, self.window


class _Replacement(WindowCodec):
    """The codec of windows that hold what the archive says, before they are written."""

    def __init__(
        self,
        table: str,
        tier: Tier,
        now_ms: Callable[[], int],
        may_drop: Mapping[Key, IdSet],
        result: Rebuilt,
    ) -> None:
        super().__init__(table, tier, now_ms, self._written)
        self._tier = tier
        self._clock_ms = now_ms
        self._may_drop = may_drop
        self._result = result
        self._held: dict[Key, Held] = {}

    def merge_stored(self, item: Window, stored: Attributes | None) -> bool:
        """Take the stored version over; whether the item must be written, and may be."""
        item.loaded = True
        key = (item.device, item.name)
        if stored is None:
            item.ver = 0
            return item.n > 0
        item.ver = int(stored["ver"]["N"])
        have = Window(item.device, item.name, item.end)
        try:
            load_window(have, stored)
        except (KeyError, ValueError):
            have.clear()  # it shows no ids that could be lost
        if not have.n and not item.n:
            return False
        extra = count_beyond(have.ids, item.ids)
        if not extra and not self._differs(item, stored):
            return False
        if extra and count_beyond(_only(have.ids, item.ids), self._may_drop.get(key, _NO_IDS)):
            start = item.end - self._tier.size_ms
            self._held[key] = Held(*key, start, item.end, _only(have.ids, item.ids))
            return False
        return True

    def values(self, item: Window) -> list[AttributeValue]:
        """As the worker writes it; a window that must not exist is empty, and expires now."""
        values = super().values(item)
        if item.n == 0:
            values[-1] = {"N": str(self._clock_ms() // 1000)}
        return values

    def _differs(self, item: Window, stored: Attributes) -> bool:
        found = difference(item, stored, device=item.device, name=item.name, end=item.end,
                           size_ms=self._tier.size_ms)  # fmt: skip
        return found is not None

    def _written(self, _item: Window) -> None:
        self._result.written += 1

    def held(self) -> Iterable[Held]:
        """The windows that were left as they are."""
        return self._held.values()


class Rebuilt:
    """What was done: windows ``written`` and looked at, and those that were left."""

    def __init__(self) -> None:
        self.windows = 0
        self.written = 0
        self.held: list[Held] = []


def replace_windows(
    windows: Sequence[tuple[Tier, Window]],
    store: Store,
    table: str,
    *,
    now_ms: Callable[[], int],
    may_drop: Mapping[Key, IdSet] | None = None,
    calls: Calls | None = None,
    backoff: Callable[[], Backoff] = Backoff,
) -> Rebuilt:
    """Make stored windows hold what these hold, which is what the archive says.

    ``may_drop`` has, by window, ids of which it is proven that the archive will never have them.

    :raises StoreError, GaveUpError: as the store does. What was written by then is right.
    """
    result = Rebuilt()
    by_tier: dict[Tier, list[Window]] = {}
    for tier, window in windows:
        window.pending, window.loaded = [], False
        by_tier.setdefault(tier, []).append(window)
    work: list[Work] = []
    codecs = []
    for tier, mine in by_tier.items():
        codec = _Replacement(table, tier, now_ms, may_drop or {}, result)
        codecs.append(codec)
        work.append((OptimisticWriter(store, codec), mine))
        result.windows += len(mine)
    write_all(work, calls, backoff)
    result.held = [held for codec in codecs for held in codec.held()]
    return result


def _only(ids: IdSet, known: IdSet) -> IdSet:
    """The ids that are not among the known ones."""
    rest = IdSet()
    for boot, start, end in beyond(ids, known):
        rest.add(boot, start, end)
    return rest
