"""What a device does with a command that it received. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ingest.commands.command import ENDED, Command, Outcome, cut, outcome_of, read_command

LOST: Final = "the device's record of commands was damaged: whether it did this is not known"


class Run(NamedTuple):
    """Do it."""

    command: Command


class Answer(NamedTuple):
    """Do not do it, and say so. ``keep`` is whether the answer has to be in the journal first."""

    outcome: Outcome
    until: int = 0
    keep: bool = False


class Withdraw(NamedTuple):
    """The device has answered it before: it only has to wait no more."""


class Leave(NamedTuple):
    """Nothing: it waits on."""


Decision = Run | Answer | Withdraw | Leave


class Facts(NamedTuple):
    """What a device knows when it decides. Times in ms: ``now`` is AWS IoT's clock, ``lost`` when
    the journal was found damaged. ``outcome`` is what the journal has of the command, ``reported``
    what the shadow has."""

    now: int
    outcome: Outcome | None = None
    reported: Any = None
    lost: int = 0
    can_run: bool = True
    """Whether there is a handler."""
    has_room: bool = True
    """Whether the journal takes another id."""
    listed: bool = True
    """Whether it waited in the last document. A change alone can be a repeat from long ago, of a
    command that was done and is forgotten: it never makes one expire."""


def decide(id_: str, waiting: Any, facts: Facts) -> Decision:
    """Decide on a command that waits in the shadow, that is neither queued nor running.

    Whatever was decided once is decided again: a command that was done, refused or expired is
    answered with the outcome that it had.
    """
    if facts.outcome is not None:
        return Answer(facts.outcome)
    answered = outcome_of(facts.reported)
    if answered is not None and answered.status in ENDED:
        return Withdraw()
    try:
        command = read_command(waiting, id_)
    except ValueError as error:
        return Answer(Outcome("REJECTED", facts.now, cut(str(error))))
    if not facts.has_room:
        return Leave()
    lost, late = command.at <= facts.lost, facts.now > command.until
    if (lost or late) and not facts.listed:
        return Leave()
    if lost:
        return Answer(Outcome("FAILED", facts.now, LOST), command.until, keep=True)
    if late:
        return Answer(expired(command, facts.now), command.until, keep=True)
    return Run(command) if facts.can_run else Leave()


def expired(command: Command, now: int) -> Outcome:
    """What is said of a command whose deadline is over."""
    late = max(1, round((now - command.until) / 1000))
    return Outcome("TIMED_OUT", now, f"it reached the device {late} s after its deadline")


def in_order(waiting: Mapping[str, Any]) -> list[str]:
    """Ids of waiting commands in the order in which they were sent."""

    def sent(id_: str) -> tuple[int, str]:
        one = waiting[id_]
        at = one.get("at") if isinstance(one, Mapping) else None
        return (at if isinstance(at, int) else 0, id_)

    return sorted(waiting, key=sent)
