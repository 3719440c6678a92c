"""Which identities of a day the table has already, read as little as row groups' statistics let."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.archive.distinct import IDENTITY
from lake.compaction.coded import CodedFile, Identities


class KnownIdentities:
    """The identities in compacted files of one day.

    A device counts upwards, so what it sent in the last hour has other numbers than what earlier
    files have of it: where devices report often, nothing is read but the files' footers.
    """

    def __init__(self, files: Iterable[CodedFile]) -> None:
        self._groups = [
            (file, group, file.identities(group)) for file in files for group in range(file.groups)
        ]

    def near(self, rows: Any) -> Any | None:
        """A table of identities that has all those of ``rows`` that the files have, and others;
        ``None`` when it is none. ``rows`` are in the order of devices."""
        found = [
            file.read(group, IDENTITY)
            for file, group, ids in self._groups
            if ids is None or _may_have(ids, rows)
        ]
        return pa.concat_tables(found) if found else None


def _may_have(ids: Identities, rows: Any) -> bool:
    devices = rows["device_id"]
    if not len(devices) or ids.first_device > devices[-1].as_py():
        return False
    if ids.last_device < devices[0].as_py():
        return False
    every = range(len(devices))
    begin = bisect_left(every, ids.first_device, key=lambda row: devices[row].as_py())
    end = bisect_right(every, ids.last_device, key=lambda row: devices[row].as_py())
    seqs = pc.min_max(rows["seq"].slice(begin, end - begin)).as_py()
    return begin < end and seqs["min"] <= ids.last_seq and ids.first_seq <= seqs["max"]
