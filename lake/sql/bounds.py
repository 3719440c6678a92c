"""Which times and which device a query is about, read from DuckDB's own plan of it. Pure.

The query is planned once over two empty tables. DuckDB moves each comparison with a constant down
to the table that it is about, whatever the text looked like (``now() - INTERVAL 1 DAY``,
``date_trunc('day', ts) = …``, a view, a join), and names it in the plan. What it has moved there
holds for every row that the query needs, so no other row has to be read. A comparison that is not
recognised here only means that more is read.

The empty tables' columns carry the table's name (``readings_ts``), which tells their scans apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

TABLES: Final = ("records", "readings")
"""What a query can be about."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_SCAN: Final = "ARROW_SCAN"
_COMPARISON: Final = re.compile(r"(\w+)(>=|>|<=|<|=)'([^']*)'::TIMESTAMP WITH TIME ZONE")
_EQUAL: Final = re.compile(r"(\w+)='((?:[^']|'')*)'")


class Span(NamedTuple):
    """Times from ``start_ms`` on and before ``end_ms``, ms since 1970; ``None`` is unbounded."""

    start_ms: int | None = None
    end_ms: int | None = None

    def and_(self, other: Span) -> Span:
        """Times in both.

        >>> Span(1, 9).and_(Span(None, 5))
        Span(start_ms=1, end_ms=5)
        """
        starts = [one for one in (self.start_ms, other.start_ms) if one is not None]
        ends = [one for one in (self.end_ms, other.end_ms) if one is not None]
        return Span(max(starts, default=None), min(ends, default=None))

    def or_(self, other: Span) -> Span:
        """Times that one of them has, and those between.

        >>> Span(1, 9).or_(Span(None, 5))
        Span(start_ms=None, end_ms=9)
        """
        starts, ends = (self.start_ms, other.start_ms), (self.end_ms, other.end_ms)
        return Span(
            None if None in starts else min(one for one in starts if one is not None),
            None if None in ends else max(one for one in ends if one is not None),
        )


class Bounds(NamedTuple):
    """What a query needs of a table: rows whose ``ts`` and ``arrived_at`` are in the spans, and of
    one device only where ``device`` is not ``None``."""

    ts: Span = Span()
    arrived_at: Span = Span()
    device: str | None = None

    def or_(self, other: Bounds) -> Bounds:
        """What two scans of the table need."""
        device = self.device if self.device == other.device else None
        return Bounds(self.ts.or_(other.ts), self.arrived_at.or_(other.arrived_at), device)


ANY_TIME: Final = Span()
EVERYTHING: Final = Bounds()


def bounds_of(plan: Iterable[Mapping[str, Any]]) -> dict[str, Bounds]:
    """What a plan of DuckDB (``EXPLAIN (FORMAT JSON)``) reads of each of :data:`TABLES`; a table
    that it does not read is not there."""
    found: dict[str, Bounds] = {}
    for scan in _scans(plan):
        filters = _texts(scan.get("Filters"))
        named = " ".join([*_texts(scan.get("Projections")), *filters])
        for table in [one for one in TABLES if f"{one}_" in named] or TABLES:
            bounds = _of_filters(table, filters)
            found[table] = found[table].or_(bounds) if table in found else bounds
    return found


def _scans(nodes: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for node in nodes:
        if str(node.get("name", "")).strip() == _SCAN:
            yield node.get("extra_info", {})
        yield from _scans(node.get("children", ()))


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(one) for one in value]


def _of_filters(table: str, filters: Iterable[str]) -> Bounds:
    """Each filter is about one column: comparisons with ``AND`` between."""
    spans, device = {"ts": Span(), "arrived_at": Span()}, None
    for text in filters:
        equal = _EQUAL.fullmatch(text)
        if equal is not None and equal[1] == f"{table}_device_id":
            device = equal[2].replace("''", "'")
            continue
        matches = [_COMPARISON.fullmatch(part) for part in text.split(" AND ")]
        for match in matches:
            column = match[1].removeprefix(f"{table}_") if match else ""
            if match is not None and column in spans:
                spans[column] = spans[column].and_(_span(match[2], match[3]))
    return Bounds(spans["ts"], spans["arrived_at"], device)


def _span(operator: str, text: str) -> Span:
    """The span of a comparison, in whole ms; unbounded for a time that Python does not know."""
    try:
        moment = datetime.fromisoformat(text) - _EPOCH
    except (ValueError, OverflowError):
        return ANY_TIME
    ms, rest = divmod(moment, timedelta(milliseconds=1))
    if operator in (">", ">="):
        return Span(ms, None)
    end = ms if operator == "<" and not rest else ms + 1
    return Span(ms if operator == "=" else None, end)
