"""Sizes of the items that are stored, measured once for each item."""

from __future__ import annotations

from typing import Any, Final

from infra.emulator.limits.item_size import item_bytes

_REMEMBERED: Final = 20_000


class ItemSizes:
    """Remembers sizes by the item itself: a stored item is replaced, never changed in place."""

    def __init__(self, measure: Any) -> None:
        self._measure = measure
        self._known: dict[int, tuple[Any, int]] = {}  # holds the item, so that its id is its own

    def of(self, item: Any) -> int:
        """Bytes of an item; of nothing, 0."""
        if not item:
            return 0
        known = self._known.get(id(item))
        if known is not None:
            return known[1]
        try:
            size = item_bytes(item)
        except (AttributeError, TypeError, ValueError):  # malformed, which another check refuses
            return int(self._measure(item))
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[id(item)] = (item, size)
        return size

    def forget(self, item: Any) -> None:
        """An item is no longer stored."""
        self._known.pop(id(item), None)
