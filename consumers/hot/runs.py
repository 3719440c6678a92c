"""Runs: readings of one device that are folded as one.

A run holds consecutive readings of one boot whose event times fall into the same window of
every tier. Its ids are one range and its metrics are columns, so a window takes a run of a
thousand readings with as many steps as a run of one. Where a window has some of a run's ids
already, the rest is cut out of the columns and is a run itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Final

from msgspec import Struct

from consumers.hot.metric import Ends, Metric, of_column, of_one, of_sparse_column
from ingest.id_ranges import BOOT_BYTES, RANGE_BYTES
from ingest.message import MAX_METRICS

Row = Mapping[str, float]
"""One reading's metrics."""

Column = Sequence[float | None]
"""One metric's values, reading by reading; ``None`` where a reading does not carry it."""

Span = tuple[int, int]
"""Event times from the first up to, and without, the second (ms)."""

METRIC_BYTES: Final = 330
"""The most bytes that one metric takes in a window's item: a name of 64 characters, the names of
its ten aggregates, and ten numbers of up to 21 bytes."""


class Run(Struct, gc=False, frozen=True, eq=False):
    """Readings ``seq`` up to, and without, ``end`` of a boot.

    ``ts`` are their event times (ms), from ``oldest`` to ``newest``, and ``columns`` their
    values; ``metrics`` holds the aggregates of each column. ``sparse``: some reading does not
    carry every metric. ``row`` are the metrics of a run of one.
    """

    boot: str
    seq: int
    end: int
    ts: Sequence[int]
    oldest: int
    newest: int
    columns: dict[str, Column]
    metrics: dict[str, Metric]
    sparse: bool = False
    row: Row | None = None

    def __len__(self) -> int:
        return self.end - self.seq

    def run(self) -> Run:
        """As :meth:`Single.run`."""
        return self

    def kept(self) -> Kept:
        """The same readings in less memory, for as long as they are not durable."""
        return self if self.row is None else Single(self.boot, self.seq, self.ts, self.row)

    def part(self, start: int, end: int) -> Run:
        """The readings from ``start`` up to, and without, ``end``."""
        cut = slice(start - self.seq, end - self.seq)
        columns = {name: values[cut] for name, values in self.columns.items()}
        if self.sparse:
            columns = {
                name: values
                for name, values in columns.items()
                if any(value is not None for value in values)
            }
        ts = self.ts[cut]
        return _run(self.boot, start, ts, Ends(ts), columns, self.sparse)

    def growth(self) -> int:
        """The most bytes by which an item grows that takes in one reading, or all, of the run."""
        return RANGE_BYTES + BOOT_BYTES + METRIC_BYTES * len(self.metrics)

    def latest(self) -> tuple[int, str, int]:
        """Identity of the newest reading, by ``(ts, boot, seq)``."""
        ts, newest = self.ts, self.newest
        behind = 0 if ts[-1] == newest else ts[::-1].index(newest)
        return newest, self.boot, self.end - 1 - behind


class Single(Struct, gc=False, frozen=True, eq=False):
    """A run of one reading without its aggregates: a third of a run's memory."""

    boot: str
    seq: int
    ts: Sequence[int]
    row: Row

    def __len__(self) -> int:
        return 1

    def run(self) -> Run:
        """The run of these readings."""
        return run_of_one(self.boot, self.seq, self.ts[0], self.row)


class Columns(Struct, gc=False, eq=False):
    """Consecutive readings of one boot with the same metrics, as arrays: 8 bytes a value."""

    boot: str
    seq: int
    ts: array[int]
    columns: dict[str, array[float]]

    def __len__(self) -> int:
        return len(self.ts)

    def run(self) -> Run:
        """As :meth:`Single.run`."""
        columns: dict[str, Column] = {**self.columns}
        return _run(self.boot, self.seq, self.ts, Ends(self.ts), columns, sparse=False)

    def append(self, kept: Kept) -> bool:
        """Append readings; ``False``, and no change, if they do not follow these or have other
        metrics."""
        if kept.boot != self.boot or kept.seq != self.seq + len(self.ts):
            return False
        if isinstance(kept, Single):
            if kept.row.keys() != self.columns.keys():
                return False
            for name, value in kept.row.items():
                self.columns[name].append(value)
        elif kept.columns.keys() != self.columns.keys() or (isinstance(kept, Run) and kept.sparse):
            return False
        else:
            for name, values in kept.columns.items():
                self.columns[name].extend(values)  # type: ignore[arg-type]  # not sparse
        self.ts.extend(kept.ts)
        return True


Kept = Run | Single | Columns
"""Readings that were folded and are not durable."""


def compact(kept: Sequence[Kept]) -> list[Kept]:
    """The same readings, in order; neighbours that follow each other are put in columns.

    >>> one = [run_of_one("boot-one", seq, 5, {"a": 1.5}).kept() for seq in (0, 1, 7)]
    >>> [len(readings) for readings in compact(one)]
    [2, 1]
    """
    joined: list[Kept] = []
    for readings in kept:
        last = joined[-1] if joined else None
        if isinstance(last, Columns):
            if last.append(readings):
                continue
        elif last is not None and not (isinstance(last, Run) and last.sparse):
            columns = _as_columns(last)
            if columns.append(readings):
                joined[-1] = columns
                continue
        joined.append(readings)
    return joined


def _as_columns(kept: Run | Single) -> Columns:
    columns: dict[str, array[float]]
    if isinstance(kept, Single):
        columns = {name: array("d", (value,)) for name, value in kept.row.items()}
    else:
        columns = {name: array("d", values) for name, values in kept.columns.items()}  # type: ignore[arg-type]
    return Columns(kept.boot, kept.seq, array("q", kept.ts), columns)


class Stretch(Struct, gc=False):
    """Consecutive readings of one boot as they arrived, from ``seq``: event times (ms) and
    metrics."""

    boot: str
    seq: int
    ts: Sequence[int]
    rows: Sequence[Row]

    def part(self, first: int, end: int) -> Stretch:
        """The readings at these places."""
        return Stretch(self.boot, self.seq + first, self.ts[first:end], self.rows[first:end])


def runs_of(stretch: Stretch, span_of: Callable[[int], Span]) -> Sequence[Run]:
    """Cut consecutive readings into runs. ``span_of(ts)`` gives the event times around ``ts`` that
    are in the same windows."""
    ends = Ends(stretch.ts)
    if ends.newest < span_of(ends.oldest)[1]:
        return _same_windows(stretch, ends)
    runs: list[Run] = []
    for first, end in _cuts(stretch.ts, span_of):
        part = stretch.part(first, end)
        runs += _same_windows(part, Ends(part.ts))
    return runs


def run_of_one(boot: str, seq: int, ts: int, row: Row) -> Run:
    """The run of a single reading."""
    columns: dict[str, Column] = {name: (value,) for name, value in row.items()}
    metrics = {name: of_one(value, ts) for name, value in row.items()}
    return Run(boot, seq, seq + 1, (ts,), ts, ts, columns, metrics, row=row)


def _cuts(ts: Sequence[int], span_of: Callable[[int], Span]) -> Iterator[tuple[int, int]]:
    """Places from and up to which the event times stay in the same windows."""
    first = 0
    start, end = span_of(ts[0])
    for place, at in enumerate(ts):
        if not start <= at < end:
            yield first, place
            first = place
            start, end = span_of(at)
    yield first, len(ts)


def _same_windows(stretch: Stretch, ends: Ends) -> Sequence[Run]:
    """Readings in the same windows as one run, unless they carry too many different metrics."""
    boot, seq, ts, rows = stretch.boot, stretch.seq, stretch.ts, stretch.rows
    if len(rows) == 1:
        return (run_of_one(boot, seq, ts[0], rows[0]),)
    names = len(set().union(*rows))
    if names > MAX_METRICS:
        return [
            run_of_one(boot, seq + place, at, row)
            for place, (at, row) in enumerate(zip(ts, rows, strict=True))
        ]
    columns, sparse = _columns(rows, names)
    return (_run(boot, seq, ts, ends, columns, sparse),)


def _run(
    boot: str, seq: int, ts: Sequence[int], ends: Ends, columns: dict[str, Column], sparse: bool
) -> Run:
    if sparse:
        metrics = {name: of_sparse_column(values, ts) for name, values in columns.items()}
    else:
        metrics = {name: of_column(values, ends) for name, values in columns.items()}  # type: ignore[arg-type]
    return Run(
        boot, seq, seq + len(ts), ts, ends.oldest, ends.newest, columns, metrics, sparse
    )  # fmt: skip


def _columns(rows: Sequence[Row], names: int) -> tuple[dict[str, Column], bool]:
    """The readings' values by metric, and whether some are missing; ``names``: how many
    different metrics there are."""
    if names == len(rows[0]):
        try:
            return {name: [*map(itemgetter(name), rows)] for name in rows[0]}, False
        except KeyError:
            pass
    every = dict.fromkeys(chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in every}, True
