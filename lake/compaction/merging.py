"""Merges sorted rows: from several sources, in groups that fit in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from lake.compaction.order import joined, ordered

GROUP_ROWS: Final = 200_000
"""Rows that are merged at once, unless more belong together."""

WHOLE_DEVICES: Final = ("device_id",)
"""Rows of a device belong together: its identities are compared."""

SINGLE_ROWS: Final = ("device_id", "ts")
"""Rows of a device and ms belong together, which is as good as none: for rows that are distinct."""


def merged(
    sources: Sequence[Iterator[Any]], together: Sequence[str], group_rows: int = GROUP_ROWS
) -> Iterator[Any]:
    """The rows of all sources in order, in tables of one piece. Rows that belong together are in
    one table.

    :param sources: each gives tables of rows, and is in order by itself. Of each, about
        ``group_rows`` divided by their number are in memory.
    :param together: the first columns of the order; rows that agree in them belong together.
    """
    cursors = [_Cursor(one, together, max(1, group_rows // len(sources))) for one in sources]
    while cursors := [one for one in cursors if one.fill()]:
        bound = min((one.last for one in cursors if not one.ended), default=None)
        parts = [part for one in cursors if (part := one.take_before(bound)).num_rows]
        if not parts:  # all that is in memory belongs together, and there is more of it
            for one in cursors:
                if not one.ended and one.last == bound:
                    one.want_more()
        elif len(parts) == 1:
            yield joined(parts)
        else:
            yield ordered(joined(parts))


class _Cursor:
    """The rows of a source that are in memory, and those that follow."""

    def __init__(self, source: Iterator[Any], together: Sequence[str], rows: int) -> None:
        self._source = source
        self._together = together
        self._usual = self._wanted = rows
        self._rows: Any = None
        self.ended = False

    def fill(self) -> bool:
        """Have as many rows in memory as wanted, if there are so many; whether there are any."""
        parts = [] if self._rows is None else [self._rows]
        size = sum(one.num_rows for one in parts)
        while size < self._wanted and not self.ended:
            part = next(self._source, None)
            self.ended = part is None
            if part is not None:
                parts.append(part)
                size += part.num_rows
        self._rows = pa.concat_tables(parts) if parts else None
        return bool(size)

    def want_more(self) -> None:
        """Want twice as many as there are, until some are taken."""
        self._wanted = 2 * self._rows.num_rows

    @property
    def last(self) -> tuple[Any, ...]:
        """What the last row in memory belongs to."""
        return self._key(self._rows.num_rows - 1)

    def take_before(self, bound: tuple[Any, ...] | None) -> Any:
        """Remove and return the rows that are before it; all without a bound."""
        rows = self._rows
        size = rows.num_rows
        end = size if bound is None else bisect_left(range(size), bound, key=self._key)
        self._wanted = self._usual if end else self._wanted
        self._rows = rows.slice(end)
        return rows.slice(0, end)

    def _key(self, row: int) -> tuple[Any, ...]:
        return tuple(self._rows[name][row].as_py() for name in self._together)
