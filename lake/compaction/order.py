"""The order of compacted rows, and which of several rows is the reading. Pure: Arrow tables in and
out.

Rows have the columns of a reading, with ``device_id``, ``boot`` and the names of metrics as
dictionaries, whose numbers are sorted and copied in a tenth of the time that texts take. Rows that
are not compacted yet also have :data:`ARRIVAL`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lake.archive.distinct import IDENTITY

ARRIVAL: Final = "arrival"
"""Where in the archive a row is: of rows that arrived in the same ms, the least came first."""

ORDER: Final = ("device_id", "ts", "boot", "seq")
"""How the rows of a day are sorted in a file."""

_ARRIVED: Final = ("arrived_at", "received_at", ARRIVAL)


def joined(tables: Sequence[Any]) -> Any:
    """One table in one piece, with dictionaries that all its rows share."""
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def ordered(rows: Any, by: Sequence[str] = ORDER) -> Any:
    """The rows (in one piece) sorted by these columns."""
    return rows.take(_indices(rows, by))


def unknown_firsts(rows: Any, known: Any | None = None) -> Any:
    """The readings among ``rows``, which are of one day and in one piece: of the rows of an
    identity the one that arrived first, and none of an identity that is in ``known`` (a table of
    identities). They stay in their order."""
    ids = rows.select([*IDENTITY, *_ARRIVED])
    old = 0 if known is None else known.num_rows
    if known is not None and old:
        ids = joined([_arrived_before_all(known, ids.schema), ids])
    if not rows.num_rows:
        return rows
    order = _indices(ids, (*IDENTITY, *_ARRIVED))
    first = _begins_identity(ids, order)
    kept = pc.subtract(order.filter(first).cast(pa.int64()), old)
    kept = kept.filter(pc.greater_equal(kept, 0))
    return rows if len(kept) == rows.num_rows else rows.take(kept.take(pc.sort_indices(kept)))


def _begins_identity(ids: Any, order: Any) -> Any:
    """For each row in this order, whether its identity is another than that of the row before."""
    begins = pa.repeat(pa.scalar(False), len(order) - 1)
    for name in IDENTITY:
        column = _sortable(ids[name]).take(order)
        begins = pc.or_(begins, pc.not_equal(column.slice(1), column.slice(0, len(order) - 1)))
    return pa.concat_arrays([pa.array([True]), begins])


def _arrived_before_all(known: Any, schema: Any) -> Any:
    """``known`` with the columns of ``schema``, as if it had arrived before every row."""
    long_ago = pa.repeat(pa.scalar(-(2**62), pa.int64()), known.num_rows)
    columns = [
        known[field.name] if field.name in IDENTITY else long_ago.cast(field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _indices(rows: Any, by: Sequence[str]) -> Any:
    keys = pa.RecordBatch.from_arrays([_sortable(rows[name]) for name in by], names=list(by))
    return pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in by])


def _sortable(column: Any) -> Any:
    """Integers that compare as the values of a column, which is in one piece."""
    array = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(array.type):
        ranks = pc.rank(array.dictionary, "ascending", tiebreaker="dense")
        return ranks.take(array.indices)
    return array.cast(pa.int64())
