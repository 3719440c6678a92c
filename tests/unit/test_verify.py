"""The verifier: exact for what is right, and not for any single thing that is wrong.

The right answer is that of :mod:`tests.harness.right_answer`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from simulator.verification import room
from simulator.verification.ledger import Entry
from simulator.verification.observe import Observed
from simulator.verification.verifier import Report, verify
from tests.harness.right_answer import (
    BOOT,
    NOW,
    RULES,
    TEN,
    archived,
    entry,
    ledger,
    number,
    observed,
)


def report(
    mutate: Callable[[Observed], object] = lambda _: None,
    *,
    entries: list[Entry] | None = None,
    exclusive: bool = False,
    now_s: float = NOW / 1000,
) -> Report:
    """What the verifier says of the right answer after ``mutate`` spoilt it."""
    sent = ledger()
    found = copy.deepcopy(observed(sent))
    mutate(found)
    return verify(entries or sent, found, RULES, now_s=now_s, exclusive=exclusive)


def test_what_is_right_is_exact() -> None:
    told = report(exclusive=True)
    assert told.differences == []
    assert told.exact
    document = told.as_dict()
    assert document["verdict"] == "exact"
    assert document["sent"] == {
        "messages": 8, "readings": 9, "acknowledged": 9, "unacknowledged": 0, "repeated": 1,
        "garbage": 2, "conflicting": 0, "unacknowledged_arrived": 0, "unacknowledged_lost": 0,
    }  # fmt: skip
    assert document["windows"]["checked"] == 5
    assert document["latest"] == {"checked": 2, "wrong": 0}
    assert document["archive"] == {
        "objects": 2, "records": 8, "readings": 9, "missing": 0, "duplicated": 0, "repeated": 2,
        "wrong": 0, "extra": 0, "rejected": 2,
    }  # fmt: skip
    assert document["dispositions"] == {
        "ok": 8, "late": 1, "clock_ahead": 1, "out_of_range": 1, "malformed": 1,
        "unsupported_version": 1,
    }  # fmt: skip


def _window(found: Observed) -> Any:
    return found.windows["d1", TEN]


def _metric(found: Observed) -> Any:
    return _window(found)["metrics"]["M"]["t"]["M"]


def _row(found: Observed, **changes: Any) -> None:
    """Change the row of d1's reading 2."""
    index = next(i for i, row in enumerate(found.rows) if row.seq == 2 and row.device_id == "d1")
    found.rows[index] = found.rows[index]._replace(**changes)


def _garbage(found: Observed, **changes: Any) -> None:
    index = next(i for i, row in enumerate(found.rows) if row.disposition == "malformed")
    found.rows[index] = found.rows[index]._replace(**changes)


def _set(field: str, value: float) -> Callable[[Observed], object]:
    return lambda found: _metric(found).update({field: number(value)})


WINDOW_MUTANTS: dict[str, tuple[Callable[[Observed], object], str]] = {
    "a lost window": (
        lambda found: found.windows.pop(("d1", TEN)),
        f"window {TEN} of d1 is missing: expected 4 readings",
    ),
    "a window of nothing": (
        lambda found: found.windows.update({("d1", "1m#2026-11-23T09:00:00Z"): _window(found)}),
        "window 1m#2026-11-23T09:00:00Z of d1 is there and nothing was sent for it",
    ),
    "a doubled n": (lambda found: _window(found).update(n=number(8)), "n is 8, expected 4"),
    "a lost id": (
        lambda found: _window(found)["ids"]["M"].update({BOOT: {"S": "0-2"}}),
        f"ids are {{'{BOOT}': '0-2'}}, expected {{'{BOOT}': '0-2,7'}}",
    ),
    "another boot": (
        lambda found: _window(found)["ids"]["M"].update(boot00000={"S": "0"}),
        "ids are",
    ),
    "a sum off by 1e-6": (_set("sum", 80.500001), "t.sum is 80.500001, expected 80.5"),
    "a mean off by 1e-6": (_set("mean", 20.125001), "t.mean is 20.125001"),
    "an m2 off by 1e-4": (_set("m2", 0.3126), "t.m2 is 0.3126"),
    "a minimum in its last digit": (_set("min", 19.750000000000004), "t.min is"),
    "another maximum": (_set("max", 21.0), "t.max is 21.0, expected 20.5"),
    "another first": (_set("first", 20.5), "t.first is 20.5, expected 20.25"),
    "another last": (_set("last", 20.5), "t.last is 20.5, expected 20.0"),
    "a doubled count of a metric": (_set("n", 8), "t.n is 8.0, expected 4"),
    "a lost metric": (
        lambda found: _window(found)["metrics"]["M"].pop("door"),
        "metrics are ['t'], expected ['door', 't']",
    ),
    "a wrong first time": (
        lambda found: _window(found).update(first_ts=number(NOW + 1)),
        f"first_ts is {NOW + 1}, expected {NOW}",
    ),
    "an item that hides as expired": (
        lambda found: _window(found).update(expires_at=number(5), n=number(8)),
        "n is 8, expected 4",
    ),
    "a lost attribute": (lambda found: _window(found).pop("n"), "it lacks 'n'"),
}

LATEST_MUTANTS: dict[str, tuple[Callable[[Observed], object], str]] = {
    "a lost device": (lambda found: found.devices.pop("d1"), "latest state of d1: missing"),
    "a device that shows nothing": (
        lambda found: found.devices["d1"].pop("boot"),  # type: ignore[attr-defined]
        "latest state of d1: it shows no reading",
    ),
    "an old value": (
        lambda found: found.devices["d1"]["metrics"]["M"]["t"]["M"].update(v=number(20.0)),
        "latest state of d1: {",
    ),
    "an old sequence number": (
        lambda found: found.devices["d1"].update(seq=number(1)),  # type: ignore[attr-defined]
        "latest state of d1: newest reading is",
    ),
}

ARCHIVE_MUTANTS: dict[str, tuple[Callable[[Observed], object], str]] = {
    "a lost row": (
        lambda found: found.rows.remove(next(r for r in found.rows if r.seq == 7)),
        f"reading {BOOT}/7 of d1 was acknowledged and is not in the archive",
    ),
    "a row twice": (
        lambda found: found.rows.append(found.rows[0]),
        "record 4950 of shard-0 is archived 2 times",
    ),
    "another value": (
        lambda found: _row(found, metrics={"t": 19.5}),
        f"reading {BOOT}/2 of d1 is archived with other content",
    ),
    "another time": (
        lambda found: _row(found, ts=NOW + 2501),
        f"reading {BOOT}/2 of d1 is archived with other content",
    ),
    "another disposition": (
        lambda found: _row(found, disposition="late"),
        f"reading {BOOT}/2 of d1 is archived as late, expected ok",
    ),
    "a reading that nobody sent": (
        lambda found: _row(found, seq=99),
        f"reading {BOOT}/99 of d1 is in the archive and was never sent",
    ),
    "a reading of the other device": (
        lambda found: _row(found, device_id="d2", seq=55),
        f"reading {BOOT}/55 of d2 is in the archive and was never sent",
    ),
    "garbage that lost a byte": (
        lambda found: _garbage(found, raw=b"\xff"),
        "d2 sent b'\\xff\\x00', and it is not archived as malformed",
    ),
    "garbage of another disposition": (
        lambda found: _garbage(found, disposition="oversize"),
        "d2 sent b'\\xff\\x00', and it is not archived as malformed",
    ),
}


@pytest.mark.parametrize("name", WINDOW_MUTANTS)
def test_a_wrong_window_is_noticed(name: str) -> None:
    mutate, sentence = WINDOW_MUTANTS[name]
    told = report(mutate)
    assert not told.exact
    assert any(sentence in difference for difference in told.differences), told.differences
    assert told.windows["missing"] + told.windows["extra"] + told.windows["wrong"] == 1


@pytest.mark.parametrize("name", LATEST_MUTANTS)
def test_a_wrong_latest_state_is_noticed(name: str) -> None:
    mutate, sentence = LATEST_MUTANTS[name]
    told = report(mutate)
    assert not told.exact
    assert [d for d in told.differences if d.startswith(sentence)] == told.differences
    assert told.latest["wrong"] == 1


@pytest.mark.parametrize("name", ARCHIVE_MUTANTS)
def test_a_wrong_archive_is_noticed(name: str) -> None:
    mutate, sentence = ARCHIVE_MUTANTS[name]
    told = report(mutate)
    assert not told.exact
    assert any(sentence in difference for difference in told.differences), told.differences


def _stranger(found: Observed) -> None:
    found.windows["d9", TEN] = _window(found)


def _strange_row(found: Observed) -> None:
    found.rows.append(found.rows[0]._replace(device_id="d9", sequence_number="9999"))


def _strange_rejection(found: Observed) -> None:
    found.rows.append(found.rows[-1]._replace(device_id=None, sequence_number="9999"))


def _strange_device(found: Observed) -> None:
    found.devices["d9"] = found.devices["d1"]


@pytest.mark.parametrize("mutate", [_stranger, _strange_row, _strange_rejection, _strange_device])
def test_another_device_is_extra_only_when_the_stack_is_the_ledgers_own(
    mutate: Callable[[Observed], object],
) -> None:
    assert report(mutate, exclusive=False).exact
    told = report(mutate, exclusive=True)
    assert not told.exact
    assert len(told.differences) == 1


def test_a_device_that_never_sent_may_be_in_the_roster() -> None:
    told = report(lambda found: found.devices.update(d9={"group": {"S": "x"}}), exclusive=True)
    assert told.exact


def test_an_expired_window_is_counted_apart_whether_it_is_there_or_not() -> None:
    after = NOW / 1000 + 10 + 10 + 600
    there = report(now_s=after)
    gone = report(lambda found: found.windows.pop(("d1", TEN)), now_s=after)
    wrong = report(lambda found: _window(found).update(n=number(8)), now_s=after)
    for told in (there, gone, wrong):
        assert told.exact
        assert told.windows["expired"] == 3
        assert told.windows["checked"] == 2


def _unacknowledged(index: int) -> list[Entry]:
    entries = ledger()
    entries[index] = entries[index]._replace(acked_at=None)
    return entries


def test_an_unacknowledged_reading_that_arrived_must_be_in_its_window() -> None:
    told = report(entries=_unacknowledged(3))
    assert told.exact
    assert told.sent["unacknowledged_arrived"] == 1
    assert not report(WINDOW_MUTANTS["a lost id"][0], entries=_unacknowledged(3)).exact


def test_an_unacknowledged_reading_may_be_lost_and_then_is_nowhere() -> None:
    sent = ledger()
    kept = observed([one for i, one in enumerate(sent) if i != 3])
    told = verify(_unacknowledged(3), kept, RULES, now_s=NOW / 1000, exclusive=True)
    assert told.exact
    assert told.sent["unacknowledged_lost"] == 1


def test_of_a_repeated_message_one_acknowledgement_is_enough() -> None:
    told = report(entries=_unacknowledged(2))
    assert told.exact
    assert told.sent["acknowledged"] == 9


def test_an_acknowledged_reading_that_is_nowhere_is_missing_everywhere() -> None:
    sent = ledger()
    kept = observed([one for i, one in enumerate(sent) if i != 3])
    told = verify(sent, kept, RULES, now_s=NOW / 1000, exclusive=True)
    assert told.archive["missing"] == 1
    assert told.windows["wrong"] == 2


def test_at_most_twenty_differences_are_told_and_all_are_counted() -> None:
    sent = [entry("d1", 2 * i, [(i, {"t": 1.0})]) for i in range(50)]
    told = verify(sent, Observed(), RULES, now_s=NOW / 1000, exclusive=True)
    assert told.archive["missing"] == 50
    assert len(told.differences) == 20


# -- full windows --------------------------------------------------------------------------


def _crowd() -> list[Entry]:
    """Every other sequence number of a device, then the gaps: a range each, then fewer."""
    numbers = [*range(0, 12, 2), *range(1, 12, 2)]
    return [entry("d1", seq, [(seq, {"t": 1.0})]) for seq in numbers]


@pytest.fixture
def _full_after_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window is full with four ranges of ids, one boot and one metric."""
    monkeypatch.setattr(room, "CLOSED", 4 * room.RANGE + room.BOOT + room.METRIC)


def _crowded(refused: range) -> tuple[list[Entry], Observed]:
    """What a worker leaves that refuses these messages of :func:`_crowd`."""
    sent = _crowd()
    kept = [one for index, one in enumerate(sent) if index not in refused]
    found = observed(kept)
    found.rows = [
        row._replace(disposition="overflow", raw=sent[index].payload) if index in refused else row
        for index, row in enumerate(archived(sent))
    ]
    return sent, found


@pytest.mark.usefixtures("_full_after_four")
def test_what_a_full_window_refuses_is_exact() -> None:
    sent, found = _crowded(range(4, 12))
    told = verify(sent, found, RULES, now_s=NOW / 1000, exclusive=True)
    assert told.differences == []
    assert told.exact
    assert told.dispositions == {"ok": 4, "overflow": 8}


@pytest.mark.usefixtures("_full_after_four")
@pytest.mark.parametrize("refused", [range(5, 12), range(3, 12), range(4, 11), range(0)], ids=str)
def test_a_window_that_is_closed_too_early_or_too_late_is_inexact(refused: range) -> None:
    sent, found = _crowded(refused)
    told = verify(sent, found, RULES, now_s=NOW / 1000, exclusive=True)
    assert not told.exact


def test_a_reading_that_is_refused_by_a_window_with_room_is_inexact() -> None:
    sent, found = _crowded(range(4, 12))
    assert not verify(sent, found, RULES, now_s=NOW / 1000, exclusive=True).exact
