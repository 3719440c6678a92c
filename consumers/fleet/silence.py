"""Rules of silence: what an alarm's state becomes by what is known of a device. Pure.

No clock decides. ``as_of`` (ms) says until when all that the stream took is taken in; it comes with
what is known, and is recorded in the transition. An id is a function of rule, device and the time
at which the silence reached its limit: that of the last reading and the limit.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from consumers.alerts.rules import Rule
from consumers.alerts.transition import (
    Change,
    Entry,
    RuleState,
    Transition,
    record,
    transition_of,
)
from ingest.tables.hot import window_name


class Heard(NamedTuple):
    """What is known of a device. ``at`` (ms): it was heard then, and not later as far as is known.
    ``ts`` is the event time (ms) of its newest reading. It may have been heard up to ``blind_ms``
    after ``at`` without that being known."""

    at: int
    ts: int
    blind_ms: int = 0


def decide_silence(rule: Rule, state: RuleState | None, heard: Heard, as_of: int) -> list[Change]:
    """What has to be recorded: at most one transition.

    An open alarm is cleared by a device that was heard after it was decided. One that was heard
    before that, though it was not known then, was not silent: the alarm is withdrawn.
    """
    limit, known = rule.silent_s * 1000, state.as_of if state else 0
    newest = state.newest if state else None
    if newest is None or newest.kind != "raised":
        if heard.at < known or as_of - heard.at - heard.blind_ms < limit:
            return []  # what was known to somebody else before is newer, or it is not silent
        due = heard.ts + limit
        window = max(due, newest.window + 1) if newest else due
        return [Change(Entry(window, "raised", _times(state, window)), withdrawn=False, late=False)]
    if heard.at >= known:
        window = max(heard.ts, newest.window + 1)
        return [Change(Entry(window, "cleared", newest.nth), withdrawn=False, late=False)]
    if heard.at > known - limit and heard.ts + limit > newest.window:
        return [Change(newest, withdrawn=True, late=True)]
    return []


def _key(window: int) -> str:
    return window_name("silent", window)


def _times(state: RuleState | None, window: int) -> int:
    """How often the same silence was found before: late data may turn it over and back."""
    log = state.log if state else []
    return sum(one.kind == "raised" and _key(one.window) == _key(window) for one in log)


class Silence(Struct):
    """What is known of a device, to be decided by a rule; a
    :class:`consumers.alerts.alarms.Decision`."""

    rule: Rule
    heard: Heard
    as_of: int

    def decide(self, state: RuleState | None) -> list[Change]:
        """See :func:`decide_silence`."""
        return decide_silence(self.rule, state, self.heard, self.as_of)

    def take(self, device: str, state: RuleState, changes: list[Change]) -> list[Transition]:
        """See :class:`consumers.alerts.alarms.Decision`."""
        made = []
        for change in changes:
            raised = state.newest if change.entry.kind == "cleared" else None
            key = _key((raised or change.entry).window)
            state.as_of = self.as_of if _raises(change) else self.heard.at
            transition = transition_of(
                self.rule, device, change, key, self.rule.silent_s, change.entry.window,
                state.muted_until,
            )  # fmt: skip
            made.append(replace(transition, as_of=state.as_of))
        record(state, changes)
        return made


def _raises(change: Change) -> bool:
    return change.entry.kind == "raised" and not change.withdrawn
