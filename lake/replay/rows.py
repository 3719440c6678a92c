"""Rows of the archive as records that can be folded: what was accepted, and nothing else. Pure.

The archive has a row for each reading, with the disposition that it got. A replay folds the rows
that are ``ok``: *whether* a reading is folded was decided once, when it arrived, and *into which
tiers* follows from the row's own times. So a replay does not decide again what a changed setting
would decide differently, and the hot tables hold what the archive says (invariant A).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import chain, pairwise, repeat
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import field

from consumers.disposition import OK
from consumers.record import ShardRecord
from ingest.message import Message, Reading

COLUMNS: Final = (
    "device_id", "ts", "boot", "seq", "metrics", "received_at", "arrived_at", "reading",
    "disposition",
)  # fmt: skip
"""The columns of a segment that a replay reads."""


class Selection(NamedTuple):
    """Which readings: event times from ``start`` up to, and without, ``end`` (ms), of ``devices``
    (all, if ``None``), of which this is part ``part`` of ``parts``; see :func:`part_of`."""

    start: int
    end: int
    devices: frozenset[str] | None = None
    part: int = 0
    parts: int = 1

    def takes(self, device: str) -> bool:
        """Whether the device is one of these."""
        return (self.devices is None or device in self.devices) and (
            self.parts == 1 or part_of(device, self.parts) == self.part
        )


def part_of(device: str, parts: int) -> int:
    """Which of so many parts a device belongs to: for ever the same, and evenly spread."""
    return zlib.crc32(device.encode()) % parts


class ArchivedRecord(ShardRecord, gc=False):
    """Accepted readings of one record that follow each other, with the message that they make."""

    message: Message = field(default_factory=lambda: Message(0, "", 0, []))


def records_of(rows: Any, selection: Selection) -> list[ArchivedRecord]:
    """The accepted readings of an Arrow table (:data:`COLUMNS`), in its order, as records."""
    rows = accepted(rows, selection)
    if not rows.num_rows:
        return []
    columns = {name: rows.column(name).combine_chunks() for name in COLUMNS}
    devices = _strings(columns["device_id"])
    boots = _strings(columns["boot"])
    received, arrived = _ints(columns["received_at"]), _ints(columns["arrived_at"])
    seqs = columns["seq"].to_pylist()
    readings = [*map(Reading, _ints(columns["ts"]), _metrics(columns["metrics"]))]
    if not pc.any(pc.greater(columns["reading"], 0)).as_py():
        return [
            ArchivedRecord(device, at, came, "", 0, b"", OK, None, 1,
                           Message(1, boot, seq, [reading]))
            for device, at, came, boot, seq, reading in zip(
                devices, received, arrived, boots, seqs, readings, strict=True
            )
        ]  # fmt: skip
    starts = _starts(columns, devices, boots)
    return [
        ArchivedRecord(devices[a], received[a], arrived[a], "", 0, b"", OK, None, b - a,
                       Message(1, boots[a], seqs[a], readings[a:b]))
        for a, b in zip(starts, [*starts[1:], len(seqs)], strict=True)
    ]  # fmt: skip


def accepted(rows: Any, selection: Selection) -> Any:
    """The rows of a selection's readings."""
    ts = rows.column("ts").cast(pa.int64())
    chosen = pc.and_(
        pc.equal(rows.column("disposition"), OK),
        pc.and_(pc.greater_equal(ts, selection.start), pc.less(ts, selection.end)),
    )
    if selection.devices is not None or selection.parts > 1:
        chosen = pc.and_(chosen, _of_devices(rows.column("device_id"), selection))
    return rows.filter(chosen)


def _of_devices(column: Any, selection: Selection) -> Any:
    """Which rows are of the selection's devices; each device is looked at once."""
    encoded = column.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    return pa.array([selection.takes(name) for name in names], pa.bool_()).take(encoded.indices)


def _starts(columns: dict[str, Any], devices: Sequence[str], boots: Sequence[str]) -> list[int]:
    """Where a record begins that continues none before it: another device, boot or time of
    arrival, or a reading that does not follow."""
    received, seqs = _ints(columns["received_at"]), columns["seq"].to_pylist()
    indices = columns["reading"].to_pylist()
    starts = [0]
    for i in range(1, len(seqs)):
        if (
            seqs[i] != seqs[i - 1] + 1
            or indices[i] != indices[i - 1] + 1
            or received[i] != received[i - 1]
            or devices[i] != devices[i - 1]
            or boots[i] != boots[i - 1]
        ):
            starts.append(i)
    return starts


def _strings(column: Any) -> list[str]:
    """A column in which values repeat: each of them is one object."""
    encoded = column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    return [values[index] for index in encoded.indices.to_pylist()]


def _ints(times: Any) -> list[int]:
    milliseconds: list[int] = times.cast(pa.int64()).to_pylist()
    return milliseconds


def _metrics(maps: Any) -> list[dict[str, float | bool]]:
    """The metrics of each row. Rows that have the same names, as those of one kind of device do,
    are made from columns."""
    bounds = maps.offsets.to_pylist()
    first, end, rows = bounds[0], bounds[-1], len(maps)
    names = _strings(maps.keys.slice(first, end - first))
    values = maps.items.slice(first, end - first).to_pylist()
    width, rest = divmod(end - first, rows)
    if not rest and bounds == [*range(first, end + 1, width or 1)][: rows + 1]:
        head = names[:width]
        if names == [*chain.from_iterable(repeat(head, rows))]:
            columns = [values[place::width] for place in range(width)]
            return [dict(zip(head, row, strict=True)) for row in zip(*columns, strict=True)]
    return [
        dict(zip(names[a - first : b - first], values[a - first : b - first], strict=True))
        for a, b in pairwise(bounds)
    ]
