"""The lake's comparison: exact for what is right, and not for any single thing that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from infra.simulation.report import lake_lines
from simulator.verification.lake import (
    READINGS,
    RECORDS,
    LakeReading,
    LakeReport,
    Snapshot,
    compare_lake,
    content_of,
    lake_reading,
)
from simulator.verification.room import place_of
from simulator.verification.verifier import verify
from tests.harness.right_answer import NOW, RULES, archived, ledger, observed

DAY = NOW // 86_400_000
ROWS = archived(ledger())
LAST = max(int(row.sequence_number) for row in ROWS)
MIDDLE = min(int(row.sequence_number) for row in ROWS) + 1


def accepted() -> frozenset[LakeReading]:
    return verify(ledger(), observed(ledger()), RULES, now_s=NOW / 1000, exclusive=True).accepted


def right(table: str, number: int, last: int) -> Snapshot:
    """A snapshot that has what it says."""
    rows = [row for row in ROWS if int(row.sequence_number) <= last]
    wanted: set[Any] = {place_of(row) for row in rows}
    if table == READINGS:
        ok = [row for row in rows if row.disposition == "ok"]
        wanted = {LakeReading(r.device_id or "", r.boot or "", r.seq or 0, DAY) for r in ok}
    contents: dict[Any, int] = {
        place_of(row) if table == RECORDS else lake_reading(row): content_of(
            row.ts, (row.metrics or {}).items()
        )
        for row in rows
        if table == RECORDS or row.disposition == "ok"
    }
    return Snapshot(table, number, {"shard-0": (last, 0)}, Counter(wanted), contents)


def snapshots() -> list[Snapshot]:
    return [right(RECORDS, 1, MIDDLE), right(RECORDS, 2, LAST),
            right(READINGS, 3, MIDDLE), right(READINGS, 4, LAST)]  # fmt: skip


def report(found: Sequence[Snapshot]) -> LakeReport:
    return compare_lake(ROWS, accepted(), found, registered=2)


def test_what_is_right_is_exact() -> None:
    told = report(snapshots())
    assert (told.exact, told.differences) == (True, [])
    assert told.as_dict() == {
        "registered": 2, "readings": 6, "snapshots": 4, "missing": 0, "duplicated": 0, "extra": 0,
        "altered": 0,
    }  # fmt: skip
    assert lake_lines(told) == [
        "lake      2 segments registered, 6 readings, each once: 0 missing, 0 duplicated, 0 extra"
    ]


def test_accepted_are_the_distinct_readings_in_order_and_nothing_else() -> None:
    assert {(one.device, one.seq) for one in accepted()} == {
        ("d1", 0), ("d1", 1), ("d1", 2), ("d1", 3), ("d1", 7), ("d2", 0),
    }  # fmt: skip
    assert {one.day for one in accepted()} == {DAY}


def _lose(one: Snapshot) -> Snapshot:
    return one._replace(rows=dict(list(one.rows.items())[1:]))


def _repeat(one: Snapshot) -> Snapshot:
    first = next(iter(one.rows))
    return one._replace(rows={**one.rows, first: 2})


def _ahead(one: Snapshot) -> Snapshot:
    """Rows come before the positions that say so."""
    return one._replace(last={"shard-0": (MIDDLE - 1, 0)})


def _behind(one: Snapshot) -> Snapshot:
    """Positions come before the rows."""
    return one._replace(last={"shard-0": (LAST, 0)})


@pytest.mark.parametrize(
    ("which", "spoil", "kind"),
    [
        (0, _lose, "missing"), (1, _lose, "missing"), (2, _lose, "missing"), (3, _lose, "missing"),
        (0, _repeat, "duplicated"), (1, _repeat, "duplicated"), (3, _repeat, "duplicated"),
        (0, _ahead, "extra"), (2, _ahead, "extra"), (0, _behind, "missing"),
        (2, _behind, "missing"),
    ],
)  # fmt: skip
def test_one_wrong_snapshot_is_inexact(
    which: int, spoil: Callable[[Snapshot], Snapshot], kind: str
) -> None:
    found = snapshots()
    found[which] = spoil(found[which])
    told = report(found)
    assert not told.exact
    assert {name for name in ("missing", "duplicated", "extra") if getattr(told, name)} == {kind}
    assert told.differences
    assert all(line.startswith("  ! ") for line in lake_lines(told)[1:])


@pytest.mark.parametrize("which", [1, 3])
def test_a_row_that_says_something_else_than_the_archive_is_inexact(which: int) -> None:
    found = snapshots()
    row = next(iter(found[which].contents))
    contents = {**found[which].contents, row: content_of(NOW, [("temperature", -1.0)])}
    found[which] = found[which]._replace(contents=contents)
    told = report(found)
    assert (told.exact, told.altered, told.missing, told.extra) == (False, 1, 0, 0)
    assert "other values than the archive" in told.differences[0]


def test_a_reading_may_say_what_any_of_its_records_says() -> None:
    told = ROWS[0]
    other = told._replace(metrics={"temperature": 99.0}, sequence_number=str(LAST))
    said: dict[Any, int] = {
        lake_reading(told): content_of(told.ts, other.metrics.items() if other.metrics else ())
    }
    newest = right(READINGS, 4, LAST)
    newest = newest._replace(contents={**newest.contents, **said})
    report = compare_lake([*ROWS, other], accepted(), [newest], registered=2)
    assert report.altered == 0


def test_a_reading_that_was_rejected_is_extra() -> None:
    found = snapshots()
    rows = {**found[3].rows, LakeReading("d2", "9f2c61d0c1a44a2e", 2, DAY + 1): 1}
    found[3] = found[3]._replace(rows=rows)
    assert report(found).extra == 1


def test_a_lake_that_does_not_reach_the_end_of_the_archive_misses_the_rest() -> None:
    told = report([snapshots()[0], snapshots()[2]])
    assert (told.missing > 0, told.duplicated, told.extra) == (True, 0, 0)
    assert not report([]).exact


def test_an_acknowledged_reading_that_never_came_is_missing() -> None:
    lost = LakeReading("d9", "boot", 0, DAY)
    told = compare_lake(ROWS, accepted() | {lost}, snapshots(), registered=2)
    assert (told.missing, told.differences) == (
        1, ["the newest snapshot of readings lacks reading boot/0 of d9"],
    )  # fmt: skip
