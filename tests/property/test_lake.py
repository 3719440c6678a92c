"""The lake under random schedules: at each snapshot, ``records`` and ``readings`` have what their
positions say, whatever was killed, ran twice at once, came late or was lost.

The real librarian and compactor run on a folder and a SQLite catalog; Hypothesis picks what workers
commit and when, which jobs run, and where they are killed or overtaken. What tables must hold is
computed from the records that were committed, by none of the lake's code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.table import TableProperties

import lake.compaction.compact as compactor
import lake.librarian.sync as librarian
from lake.archive import segments
from lake.archive.distinct import IDENTITY
from lake.catalog import tables
from lake.compaction.runs import Run
from lake.librarian.plan import Batch
from tests.harness.lake_schedule import COMPACT_STEPS, SYNC_STEPS, Event, play
from tests.harness.lake_tables import world

HARMS: Any = st.sampled_from(["none", "none", "kill", "kill", "rival"])
EVENTS: Final = st.one_of(
    st.builds(Event, st.just("commit"), st.sampled_from([0, 0, 0, 1])),
    st.builds(Event, st.just("commit"), st.sampled_from([0, 0, 0, 1])),
    st.builds(Event, st.just("wait"), st.sampled_from([1, 2, 26])),
    st.builds(Event, st.just("sync"), st.just(0), HARMS, st.sampled_from(SYNC_STEPS)),
    st.builds(Event, st.just("compact"), st.just(0), HARMS, st.sampled_from(COMPACT_STEPS),
              st.booleans()),
    st.builds(Event, st.sampled_from(["sync", "compact"]), st.just(0), st.just("commit"),
              st.just("page")),
    st.just(Event("lose")),
)  # fmt: skip


def violations(schedule: list[Event], seed: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        return play(world(Path(folder), seed), schedule)


@given(st.lists(EVENTS, min_size=3, max_size=8), st.integers(0, 1000))
@settings(max_examples=20)
def test_each_snapshot_has_what_its_positions_say(schedule: list[Event], seed: int) -> None:
    assert violations(schedule, seed) == []


ONE_DAY: Final = [
    Event("wait", hours=2), Event("commit"), Event("sync"), Event("compact"),
    Event("commit"), Event("commit", hours=1), Event("sync", harm="rival", step="listed"),
    Event("compact", harm="rival", step="prepared", small=True),
    Event("commit"), Event("sync", harm="commit", step="page"),
    Event("compact", harm="commit", step="page"),
    Event("sync", harm="kill", step="prepared"), Event("compact", harm="kill", step="prepared"),
]  # fmt: skip
EVERYTHING: Final = [
    *ONE_DAY,
    Event("wait", hours=26), Event("commit"), Event("compact", harm="kill", step="merged"),
    Event("commit", hours=1), Event("sync"), Event("compact"), Event("lose"),
    Event("commit", hours=1), Event("compact", small=True),
]  # fmt: skip
"""A schedule with all that can happen."""


def test_the_schedule_with_all_that_can_happen_is_exact() -> None:
    assert violations(EVERYTHING, 1) == []


def _mutant_keep_repeated_readings_of_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_unknown(rows: Any, known: Any = None) -> Any:
        old = set() if known is None else set(_identities(known))
        return rows.filter(pa.array([one not in old for one in _identities(rows)]))

    monkeypatch.setattr(compactor, "unknown_firsts", all_unknown)


def _identities(rows: Any) -> Iterator[tuple[Any, ...]]:
    return zip(*(rows[name].to_pylist() for name in IDENTITY), strict=True)


def _mutant_keep_readings_that_the_table_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compactor.KnownIdentities, "near", lambda *_: None)


def _mutant_register_a_segment_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(batch: Batch) -> Iterator[Batch]:
        yield batch
        yield batch._replace(segments=batch.segments[:1])

    _change_batches(monkeypatch, librarian, twice)


def _mutant_positions_of_records_before_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    _change_batches(monkeypatch, librarian, _positions_first)


def _mutant_positions_of_readings_before_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    _change_batches(monkeypatch, compactor, _positions_first)


def _positions_first(batch: Batch) -> Iterator[Batch]:
    yield batch._replace(segments=batch.segments[:1])
    if batch.segments[1:]:
        yield batch._replace(segments=batch.segments[1:])


def _change_batches(
    monkeypatch: pytest.MonkeyPatch, module: Any, change: Callable[[Batch], Iterator[Batch]]
) -> None:
    batches = module.batches
    monkeypatch.setattr(
        module, "batches", lambda *given: (new for one in batches(*given) for new in change(one))
    )


def _mutant_miss_late_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take in the newest day of a chunk only."""
    write_runs = compactor.write_runs

    def newest(*given: Any) -> list[Run]:
        runs = list(write_runs(*given))
        newest_day = max((one.day for one in runs), default=0)
        return [one for one in runs if one.day == newest_day]

    monkeypatch.setattr(compactor, "write_runs", newest)


def _mutant_ignore_the_other_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit again onto whatever is the newest snapshot by then, as Iceberg's writers do if nobody
    forbids it."""
    create = tables._create

    def patient(*given: Any) -> Any:
        made = create(*given)
        with made.transaction() as transaction:
            transaction.set_properties({TableProperties.COMMIT_NUM_RETRIES: "4"})
        return made

    monkeypatch.setattr(tables, "_create", patient)


def _mutant_assume_that_older_hours_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (librarian, compactor):
        monkeypatch.setattr(module, "oldest_hour", lambda now_ms, _: now_ms // 3_600_000)


def _mutant_list_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one listing for a snapshot of the bucket."""

    def once(s3: Any, bucket: str, **span: Any) -> list[segments.Segment]:
        whole = {"start_ms": None, "end_ms": None, "shard": None}
        return list(segments._listed(s3, bucket, *{**whole, **span}.values()))

    for module in (librarian, compactor):
        monkeypatch.setattr(module, "list_segments", once)


def _mutant_forget_the_files_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deduplicate against none of the table's files, because its list is not carried on."""
    monkeypatch.setattr(compactor.Compactor, "_files", lambda _, __: [])


MUTANTS: Final = [
    _mutant_keep_repeated_readings_of_a_chunk,
    _mutant_keep_readings_that_the_table_has,
    _mutant_register_a_segment_twice,
    _mutant_positions_of_records_before_the_files,
    _mutant_positions_of_readings_before_the_files,
    _mutant_miss_late_readings,
    _mutant_ignore_the_other_writer,
    _mutant_assume_that_older_hours_are_complete,
    _mutant_list_once,
    _mutant_forget_the_files_of_before,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.__name__[8:])
def test_the_oracle_notices_when_the_lake_is_broken(
    mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert any(violations(ONE_DAY, seed) for seed in range(1, 6))
