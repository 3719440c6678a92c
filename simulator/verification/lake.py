"""Compare the lake's tables with the ledger and the archive, at each of their snapshots. Pure.

A snapshot says how far it reaches in the archive. Up to there, ``records`` must have each row of
the archive once, and ``readings`` each distinct accepted reading once; the newest snapshots must
reach the end. Which readings were accepted follows from the ledger and the rules; this is part of
the oracle, so it shares no code with the lake.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from simulator.verification.observe import ArchiveRow
from simulator.verification.room import Place, place_of

RECORDS: Final = "records"
READINGS: Final = "readings"
DAY_MS: Final = 86_400_000
SHOWN: Final = 10


class LakeReading(NamedTuple):
    """What ``readings`` has once: device, boot, sequence number, and the UTC day (since 1970) of
    the reading's time. A device that keeps the contract never sends a number with two times."""

    device: str
    boot: str
    seq: int
    day: int


class Snapshot(NamedTuple):
    """A snapshot of a table as an Iceberg reader finds it.

    ``last`` has, for each shard, sequence and sub-sequence number of the last record that its
    properties say is in it; ``rows`` how often it has which row: a :class:`LakeReading`, or a
    :class:`~simulator.verification.room.Place` in ``records``. ``contents`` has what each row says,
    see :func:`content_of`; it is empty where it was not read.
    """

    table: str
    snapshot: int
    last: Mapping[str, tuple[int, int]]
    rows: Mapping[Hashable, int]
    contents: Mapping[Hashable, int] = {}


@dataclass
class LakeReport:
    """Counts of the newest snapshots: segments in ``records``, rows of ``readings``, rows that say
    something else than the archive; and over all snapshots what is missing, there more than once,
    or there and not in the archive."""

    registered: int = 0
    readings: int = 0
    snapshots: int = 0
    missing: int = 0
    duplicated: int = 0
    extra: int = 0
    altered: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether each snapshot has what it says."""
        return not (self.missing or self.duplicated or self.extra or self.altered)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; differences are told beside those of the verifier."""
        return {
            name: getattr(self, name)
            for name in (
                "registered", "readings", "snapshots", "missing", "duplicated", "extra", "altered",
            )
        }  # fmt: skip


def lake_reading(row: ArchiveRow) -> LakeReading | None:
    """The reading in a row of the archive; ``None`` where none could be read."""
    if row.boot is None or row.seq is None:
        return None
    return LakeReading(row.device_id or "", row.boot, row.seq, (row.ts or 0) // DAY_MS)


def content_of(ts: int | None, metrics: Iterable[tuple[str, float]] | None) -> int:
    """What a row says, in a number that is equal for equal contents within a process: the
    reading's time (ms) and its metrics, in any order.

    >>> content_of(5, [("a", 1.0), ("b", 2.0)]) == content_of(5, [("b", 2.0), ("a", 1.0)])
    True
    """
    return hash((ts, frozenset(metrics or ())))


def compare_lake(
    archived: Collection[ArchiveRow],
    accepted: AbstractSet[LakeReading],
    snapshots: Sequence[Snapshot],
    registered: int,
) -> LakeReport:
    """Compare every snapshot, oldest first for each table.

    :param archived: every row of the archive.
    :param accepted: the readings that windows must have, see
        :attr:`simulator.verification.verifier.Report.accepted`.
    :param registered: data files of the newest snapshot of ``records``.
    """
    report = LakeReport(registered, snapshots=len(snapshots))
    newest = {one.table: one for one in snapshots}
    for one in snapshots:
        wanted = _expected(one.table, [row for row in archived if _is_in(row, one.last)], accepted)
        name = f"snapshot {one.snapshot} of {one.table}"
        _tell_more_than_once(report, name, one.rows)
        _tell_extra(report, name, one.rows.keys() - wanted)
        if one is not newest[one.table]:
            _tell_missing(report, name, wanted - one.rows.keys())
    for table in (RECORDS, READINGS):
        there = newest[table].rows if table in newest else {}
        left = _expected(table, archived, accepted) - there.keys()
        if table == READINGS:
            left |= accepted - there.keys()
            report.readings = sum(there.values())
        _tell_missing(report, f"the newest snapshot of {table}", left)
        contents = newest[table].contents if table in newest else {}
        _tell_altered(report, f"the newest snapshot of {table}", table, archived, contents)
    return report


def _expected(
    table: str, rows: Iterable[ArchiveRow], accepted: AbstractSet[LakeReading]
) -> set[Hashable]:
    """What the table must have for these rows of the archive. A row that was quarantined, which
    the verifier checks, is no accepted one, although its reading may be admitted later."""
    if table == RECORDS:
        return {place_of(row) for row in rows}
    judged = (row for row in rows if row.disposition != "quarantined")
    return {found for row in judged if (found := lake_reading(row)) in accepted}


def _is_in(row: ArchiveRow, last: Mapping[str, tuple[int, int]]) -> bool:
    """Whether the row's record is one of those up to the last one of its shard."""
    return (int(row.sequence_number), row.sub_sequence) <= last.get(row.shard_id, (-1, -1))


def _tell_more_than_once(report: LakeReport, name: str, rows: Mapping[Any, int]) -> None:
    repeated = {row: count for row, count in rows.items() if count > 1}
    report.duplicated += sum(repeated.values()) - len(repeated)
    report.differences += [
        f"{name} has {_show(row)} {repeated[row]} times" for row in _shown(repeated)
    ]


def _tell_extra(report: LakeReport, name: str, rows: AbstractSet[Any]) -> None:
    report.extra += len(rows)
    report.differences += [
        f"{name} has {_show(row)}, which was not accepted or comes after its positions"
        for row in _shown(rows)
    ]


def _tell_missing(report: LakeReport, name: str, rows: AbstractSet[Any]) -> None:
    report.missing += len(rows)
    report.differences += [f"{name} lacks {_show(row)}" for row in _shown(rows)]


def _tell_altered(
    report: LakeReport,
    name: str,
    table: str,
    archived: Iterable[ArchiveRow],
    contents: Mapping[Any, int],
) -> None:
    """A reading may say what any of its records says: a device that breaks the contract sends one
    number with several contents, and the lake has one of them."""
    archive: dict[Any, set[int]] = {}
    for row in archived:
        key = place_of(row) if table == RECORDS else lake_reading(row)
        archive.setdefault(key, set()).add(content_of(row.ts, (row.metrics or {}).items()))
    altered = {row for row, content in contents.items() if content not in archive.get(row, ())}
    altered &= archive.keys()  # others are told as extra
    report.altered += len(altered)
    report.differences += [
        f"{name} has {_show(row)} with another time or other values than the archive"
        for row in _shown(altered)
    ]


def _shown(rows: Iterable[Any]) -> list[Any]:
    return sorted(rows, key=repr)[:SHOWN]


def _show(row: LakeReading | Place) -> str:
    if isinstance(row, LakeReading):
        return f"reading {row.boot}/{row.seq} of {row.device}"
    return f"record {row.sequence} of {row.shard}"
