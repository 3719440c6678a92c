"""The SQL of the views ``records`` and ``readings``. Pure: files and bounds in, text out.

``readings`` has each accepted identity once, as :mod:`lake.archive.distinct` defines it: of several
rows the one that arrived first, compared within the UTC day of their ``ts``. Identities that occur
twice are few, so they are found first, from three columns; only their rows are put in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from consumers.disposition import OK
from lake.archive.distinct import IDENTITY, READING_COLUMNS
from lake.archive.rows import ROW_SCHEMA
from lake.sql.bounds import ANY_TIME, EVERYTHING, Bounds, Span

RECORD_COLUMNS: Final[tuple[str, ...]] = tuple(ROW_SCHEMA.names)
DAY_MS: Final = 86_400_000

_IDENTITY: Final = ", ".join(IDENTITY)
_COLUMNS: Final = ", ".join(READING_COLUMNS)
_SAME: Final = " AND ".join(f"l.{name} = r.{name}" for name in IDENTITY)
_FIRST: Final = (
    "arrived_at, received_at, shard_id, length(sequence_number), sequence_number, sub_sequence, "
    "reading"
)


class Sources(NamedTuple):
    """Files that a view reads: ``segments`` of the archive, and files of ``compacted`` readings,
    whose records are in no segment that is given beside them."""

    segments: Sequence[str] = ()
    compacted: Sequence[str] = ()


def records_view(sources: Sources, span: Span = ANY_TIME) -> str:
    """``CREATE VIEW records``: every row of the segments that arrived in the span."""
    return (
        f"CREATE OR REPLACE TEMP VIEW records AS SELECT {', '.join(RECORD_COLUMNS)} "
        f"FROM {_files(sources.segments, RECORD_COLUMNS)}{_where(_in_span('arrived_at', span))}"
    )


def readings_view(sources: Sources, bounds: Bounds = EVERYTHING, span: Span = ANY_TIME) -> str:
    """``CREATE VIEW readings``: the readings whose ``ts`` is in the span, and at least those that
    the bounds need."""
    needed = bounds._replace(ts=bounds.ts.and_(span))
    outer = _where(_in_span("ts", span))
    return (
        f"CREATE OR REPLACE TEMP VIEW readings AS SELECT {_COLUMNS} "
        f"FROM ({readings_of(sources, needed)}){outer}"
    )


def readings_of(sources: Sources, bounds: Bounds = EVERYTHING) -> str:
    """A query of the readings in files. Where files were compacted, a row of a segment counts if
    its identity is not in them."""
    compacted = f"SELECT {_COLUMNS} FROM {_files(sources.compacted, READING_COLUMNS)}"
    if not sources.compacted:
        return distinct(sources.segments, bounds)
    if not sources.segments:
        return compacted
    return (
        f"WITH fresh AS MATERIALIZED ({distinct(sources.segments, bounds)}) {compacted} "
        f"UNION ALL ({fresh_only('fresh', sources.compacted, bounds)})"
    )


def fresh_only(fresh: str, compacted: Sequence[str], bounds: Bounds = EVERYTHING) -> str:
    """A query of the readings in the table ``fresh`` that are not in compacted files. Of those,
    only identities are read."""
    days = [f"epoch_us({side}.ts) // 86400000000" for side in ("l", "r")]
    same = f"{_SAME} AND {days[0]} = {days[1]}"
    files = f"(SELECT {_IDENTITY}, ts FROM {_files(compacted, READING_COLUMNS)}"
    return (
        f"WITH known AS MATERIALIZED (SELECT {_IDENTITY}, ts "
        f"FROM {files}{_where(_conditions(bounds))}) l SEMI JOIN {fresh} r ON {same}) "
        f"SELECT {_COLUMNS} FROM {fresh} l ANTI JOIN known r ON {same}"
    )


def distinct(segments: Sequence[str], bounds: Bounds = EVERYTHING) -> str:
    """A query of the readings in segments. The span of ``ts`` is widened to whole days, within
    which identities are compared."""
    accepted = _where([f"disposition = '{OK}'", *_conditions(bounds)])
    return (
        f"WITH accepted AS (SELECT * FROM {_files(segments, RECORD_COLUMNS)}{accepted}), "
        f"repeated AS MATERIALIZED (SELECT {_IDENTITY} FROM accepted GROUP BY ALL "
        "HAVING count(*) > 1) "
        f"SELECT {_COLUMNS} FROM accepted l ANTI JOIN repeated r ON {_SAME} UNION ALL "
        f"(SELECT {_COLUMNS} FROM accepted l SEMI JOIN repeated r ON {_SAME} QUALIFY row_number() "
        f"OVER (PARTITION BY {_IDENTITY}, epoch_us(ts) // 86400000000 ORDER BY {_FIRST}) = 1)"
    )


def _conditions(bounds: Bounds) -> list[str]:
    found = _in_span("ts", whole_days(bounds.ts))
    return found if bounds.device is None else [*found, f"device_id = {quoted(bounds.device)}"]


def whole_days(span: Span) -> Span:
    """The days that a span touches.

    >>> whole_days(Span(86_400_001, 86_400_002))
    Span(start_ms=86400000, end_ms=172800000)
    """
    start, end = span
    return Span(
        None if start is None else start - start % DAY_MS,
        None if end is None else end + -end % DAY_MS,
    )


def _in_span(column: str, span: Span) -> list[str]:
    start, end = span
    return [
        *([] if start is None else [f"{column} >= {_time(start)}"]),
        *([] if end is None else [f"{column} < {_time(end)}"]),
    ]


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _time(ms: int) -> str:
    return f"make_timestamptz({ms * 1000})"


def _files(files: Sequence[str], columns: Sequence[str]) -> str:
    """The files as a table; without any, the empty one that the session has."""
    if not files:
        return f"(SELECT {', '.join(columns)} FROM no_rows)"
    return f"read_parquet([{', '.join(map(quoted, files))}])"


def quoted(text: str) -> str:
    """A literal of SQL.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"
