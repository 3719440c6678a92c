"""Commands to devices: the contract, the shadow that carries them, and who sends them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from devices.commands.decide import Answer, Facts, Leave, Run, decide
from devices.commands.journal import DAMAGED, FILE, INTERRUPTED, MOST_KEPT, Journal
from devices.errors import CommandRejectedError
from infra.commands.device_obey import ProgramError, program
from ingest.commands.command import Command, Outcome, check_command, read_command
from ingest.commands.document import (
    MOST_ENDED,
    MOST_WAITING,
    CommandDiffersError,
    Commands,
    CommandsFullError,
    answering,
    merged,
)
from ingest.commands.store import CommandBusyError, read_commands, send_command
from tests.harness.shadow import Shadow
from tests.harness.shadow import Shadows as Everything

NOW = 1_795_420_800_000
MINUTE = 60_000


def command(at: int = NOW, **more: Any) -> dict[str, Any]:
    return {"name": "blink", "at": at, "until": at + MINUTE, **more}


class Shadows(Everything):
    """The client, with the shadow of one device at hand."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.only = self.shadow("pump-1")


def send(shadows: Shadows, id_: str = "command-1", **more: Any) -> Any:
    args = {"name": "blink", "args": {"times": 3}, "expires_s": 60, "now_ms": lambda: NOW, **more}
    return send_command(shadows, "pump-1", id_, **args)


# -- the contract -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Blink"},
        {"until": NOW + 1000},
        {"until": NOW + 8 * 86_400_000},
        {"args": {"Times": 3}},
        {"args": {"text": "x" * 300}},
        {"args": {f"a{i}": "x" * 200 for i in range(3)}},
        {"args": {"list": [1]}},
    ],
)
def test_a_command_that_breaks_the_contract_is_refused_with_a_sentence(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"[a-z]+ "):
        read_command({**command(), **wrong})


def test_fields_that_are_not_known_are_passed_over() -> None:
    assert read_command({**command(), "later": 1}) == Command("blink", NOW, NOW + MINUTE)


def test_an_argument_is_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        check_command(Command("blink", NOW, NOW + MINUTE, {"level": float("nan")}))


# -- who sends -----------------------------------------------------------------------------


def test_a_command_is_created_and_sent_once_however_often_it_is_sent() -> None:
    shadows = Shadows()
    first = send(shadows)
    assert (first.status, first.final, first.command.until) == ("CREATED", False, NOW + MINUTE)
    assert send(shadows) == first
    assert shadows.updates == 1


def test_an_id_is_of_one_command() -> None:
    shadows = Shadows()
    send(shadows)
    with pytest.raises(CommandDiffersError, match="another command's"):
        send(shadows, args={"times": 4})


def test_commands_of_one_moment_are_in_the_order_in_which_they_were_sent() -> None:
    shadows = Shadows()
    sent = [send(shadows, f"command-{9 - i}").id for i in range(4)]
    listed = read_commands(shadows, "pump-1").known(NOW)
    assert [one.id for one in reversed(listed)] == sent


def test_the_clock_of_aws_iot_counts_where_the_sender_s_is_wrong() -> None:
    shadows = Shadows()
    shadows.only.update({"reported": {"batch": 1}})
    assert send(shadows, now_ms=lambda: NOW - 10 * MINUTE).command.at == NOW
    assert send(shadows, "command-2", now_ms=lambda: NOW + 1500).command.at == NOW + 1500


def test_a_command_is_sent_over_what_somebody_else_writes_meanwhile() -> None:
    shadows = Shadows()
    shadows.only.update({"reported": {"batch": 1}})

    def once() -> None:
        shadows.before = lambda: None
        shadows.only.update({"desired": {"commands": {"command-0": command()}}})

    shadows.before = once
    send(shadows)
    assert {one.id for one in read_commands(shadows, "pump-1").known(NOW)} == {
        "command-0", "command-1",
    }  # fmt: skip


def test_a_shadow_that_keeps_changing_is_an_error() -> None:
    shadows = Shadows()
    shadows.only.update({"reported": {"batch": 1}})
    shadows.before = lambda: shadows.only.update({"reported": {"batch": 1}})
    with pytest.raises(CommandBusyError, match="try again later"):
        send(shadows)


def test_when_too_many_wait_another_one_is_refused_until_one_expires() -> None:
    shadows = Shadows()
    for number in range(MOST_WAITING):
        send(shadows, f"command-{number}", expires_s=60 + number)
    with pytest.raises(CommandsFullError, match="8 commands wait"):
        send(shadows, "command-9")
    shadows.only.now_ms += 61_000
    send(shadows, "command-9", now_ms=lambda: NOW + 61_000)
    assert "command-0" not in shadows.only.state["desired"]["commands"]


# -- what whoever looks sees --------------------------------------------------------------


def test_the_status_is_that_of_the_device_or_of_the_deadline() -> None:
    answered = {
        "command-2": {**command(), "status": "SUCCEEDED", "changed": NOW + 5, "detail": "3"},
        "command-3": {**command(), "status": "IN_PROGRESS", "changed": NOW + 5},
        "command-4": {**command(), "status": "TIMED_OUT", "changed": NOW + 2 * MINUTE},
        "command-5": "nothing that a device reports",
    }
    waiting = {"command-1": command(), "command-3": command(), "command-6": {"name": 1}}

    def statuses(now: int) -> dict[str, tuple[str, bool]]:
        known = Commands(waiting, answered, 1, now).known(0)
        return {one.id: (one.status, one.final) for one in known}

    fixed = {"command-2": ("SUCCEEDED", True), "command-4": ("TIMED_OUT", True)}
    going = {"command-3": ("IN_PROGRESS", False)}
    assert statuses(NOW + MINUTE) == {**fixed, **going, "command-1": ("CREATED", False)}
    assert statuses(NOW + MINUTE + 1) == {**fixed, **going, "command-1": ("TIMED_OUT", False)}


def test_an_answer_that_comes_after_the_deadline_replaces_what_the_deadline_said() -> None:
    """As AWS IoT Commands: a time-out that the device has not said itself is not final."""
    shadow = Shadow(NOW + 2 * MINUTE)
    shadow.update({"desired": {"commands": {"command-1": command()}}})
    assert Commands.of(shadow.document()).known(0)[0].status == "TIMED_OUT"
    entry = {**command(), "status": "SUCCEEDED", "changed": NOW + MINUTE}
    shadow.update(answering({}, "command-1", entry))
    (known,) = Commands.of(shadow.document()).known(0)
    assert (known.status, known.final) == ("SUCCEEDED", True)
    assert not shadow.delta()


def test_the_newest_answers_are_kept_and_the_shadow_stays_within_its_limit() -> None:
    shadow = Shadow(NOW)
    reported: dict[str, Any] = {}
    for number in range(40):
        full = command(NOW + number, args={f"a{i}": "x" * 230 for i in range(2)}, by="k" * 128)
        entry = {**full, "status": "FAILED", "changed": NOW + number, "detail": "d" * 256}
        state = answering(reported, f"command-{number}", entry)
        reported = merged(reported, state)
        shadow.update(state)
        assert shadow.state["reported"]["commands"] == reported
    assert 1 < len(reported) <= MOST_ENDED
    assert "command-39" in reported


# -- the device's journal -------------------------------------------------------------------


def test_what_had_begun_when_the_program_died_has_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / FILE, NOW)
    journal.begin("command-1", NOW)
    journal.end("command-2", NOW, Outcome("SUCCEEDED", NOW, "3"))
    with pytest.raises(sqlite3.IntegrityError):
        journal.begin("command-2", NOW)
    journal.close()
    journal = Journal(tmp_path / FILE, NOW + 7)
    assert journal.outcome("command-1") == Outcome("FAILED", NOW + 7, INTERRUPTED)
    assert journal.outcome("command-2") == Outcome("SUCCEEDED", NOW, "3")
    journal.close()


def test_a_damaged_journal_is_kept_aside_and_what_was_sent_before_is_not_done(
    tmp_path: Path,
) -> None:
    (tmp_path / FILE).write_bytes(b"SQLite format 3\0" + b"x" * 4000)
    journal = Journal(tmp_path / FILE, NOW)
    assert (tmp_path / DAMAGED).exists()
    facts = Facts(NOW, lost=journal.lost_ms)
    before, after = decide("a", command(NOW), facts), decide("a", command(NOW + 1), facts)
    assert isinstance(before, Answer)
    assert (before.outcome.status, before.keep) == ("FAILED", True)
    assert isinstance(after, Run)
    journal.close()


def test_a_full_journal_begins_nothing_until_ids_have_expired(tmp_path: Path) -> None:
    journal = Journal(tmp_path / FILE, NOW)
    journal._db.execute("PRAGMA synchronous=OFF")
    for number in range(MOST_KEPT):
        journal.end(f"command-{number}", NOW, Outcome("SUCCEEDED", NOW))
    assert not journal.has_room
    assert isinstance(decide("a", command(), Facts(NOW, has_room=journal.has_room)), Leave)
    journal.forget(NOW + 2 * 3_600_000, {"command-7"})
    assert journal.has_room
    assert journal.outcome("command-7") is not None
    assert journal.outcome("command-8") is None
    assert journal.clock_ms == NOW + 2 * 3_600_000
    journal.close()


# -- programs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ('echo "$1 $(cat)"', 'blink {"name":"blink","at":1,"until":9,"id":"command-1"}'),
        ("echo not here >&2; exit 64", CommandRejectedError("not here")),
        ("echo broken >&2; exit 3", ProgramError("broken")),
        ("exit 3", ProgramError("exit code 3")),
    ],
)
def test_a_program_does_a_command(tmp_path: Path, script: str, wanted: Any) -> None:
    path = tmp_path / "obey"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    one = Command("blink", 1, 9, id="command-1")
    if isinstance(wanted, str):
        assert program(path)(one) == wanted
        return
    with pytest.raises(type(wanted), match=str(wanted)):
        program(path)(one)
