"""The readings of the archive: its accepted rows, each identity once.

The archive has every record of the stream once, so a reading that a device sent twice is there
twice. A *reading* is a distinct ``(device_id, boot, seq)`` with the disposition ``ok``; of several
rows the one that arrived first is it.

Two rows are compared within the UTC day of their ``ts``. A device that repeats a reading repeats
its ``ts`` (the contract), so that changes nothing for it. One that breaks the contract, and sends
an identity again with a time of another day, has a reading in both days, as it has in the windows.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from consumers.disposition import OK

IDENTITY: Final = ("device_id", "boot", "seq")
"""The columns that identify a reading."""

READING_COLUMNS: Final = (*IDENTITY, "ts", "metrics", "received_at", "arrived_at")
"""What a reading is for whoever asks: what the device said and when it arrived, and not where in
the stream it was."""

_DAY: Final = "day"
_ROW: Final = "row"
_ARRIVAL: Final = (
    "arrived_at",
    "received_at",
    "shard_id",
    "width",
    "sequence_number",
    "sub_sequence",
    "reading",
)


def distinct_readings(rows: Any) -> Any:
    """The readings among ``rows``, a ``pyarrow.Table`` of :data:`lake.archive.rows.ROW_SCHEMA`, in
    the order of their arrival."""
    return distinct_accepted(rows.filter(pc.equal(rows["disposition"], OK)))


def distinct_accepted(rows: Any) -> Any:
    """As :func:`distinct_readings`, for rows that all have the disposition ``ok``."""
    ordered = rows.take(_by_arrival(rows))
    keys = pa.table(
        {
            **{name: ordered[name] for name in IDENTITY},
            _DAY: pc.floor_temporal(ordered["ts"], unit="day"),
            _ROW: pa.array(range(ordered.num_rows), pa.int64()),
        }
    )
    firsts = keys.group_by([*IDENTITY, _DAY]).aggregate([(_ROW, "min")])[f"{_ROW}_min"]
    return ordered.take(firsts.take(pc.sort_indices(firsts)))


def _by_arrival(rows: Any) -> Any:
    """Indices that put rows in the order of arrival. Sequence numbers compare by length first."""
    order = pa.table(
        {
            **{name: rows[name] for name in _ARRIVAL if name != "width"},
            "width": pc.utf8_length(rows["sequence_number"]),
        }
    )
    return pc.sort_indices(order, sort_keys=[(name, "ascending") for name in _ARRIVAL])
