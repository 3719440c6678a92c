"""Transitions: what an alarm's state becomes when windows are finished or change. Pure.

:func:`decide` is a function of the rule, of the transitions that were recorded, and of the verdicts
on a run of windows. It never asks for the time. So the same windows, once or twice, now or in a
replay, give the same transitions under the same ids, and a window that late data changed is simply
decided again: what should have been recorded and was not is added as late, what was and should not
have been is withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from consumers.alerts.condition import BREACH, CLEAR
from consumers.alerts.rules import Rule
from ingest.tables.alarms import Entry, Kind, RuleState, Transition, transition_id

__all__ = ["Entry", "Kind", "RuleState", "Transition", "transition_id"]

GROUP: Final = "#group/"
"""What stands for a group is named so, where a device's name is expected: no device has this."""

LOG: Final = 24
"""Transitions of a rule and device that are remembered. Late data is judged against them."""


def _order(entry: Entry) -> int:
    return entry.window


class Change(NamedTuple):
    """What :func:`decide` found to be recorded: an entry to add, or one to withdraw."""

    entry: Entry
    withdrawn: bool
    late: bool


def decide(
    rule: Rule, state: RuleState | None, verdicts: Mapping[int, int], since: int, size_ms: int
) -> list[Change]:
    """What has to be recorded so that the log is right from window ``since`` (ms) on.

    ``verdicts`` holds, by start, those of all windows from ``since`` on that have readings, and of
    those before it that the rule looks back on. The newest window may be unfinished: it is there
    only when more readings cannot change what it says.
    """
    log = [one for one in state.log if one.stands] if state else []
    raised = _raised_before(log, since)
    wanted: list[tuple[int, Kind]] = []
    # Windows on which the rule has no say, as before it was changed: what was recorded stands.
    settled = {one.window: one.kind for one in log if one.window not in verdicts}
    for window in sorted(start for start in {*verdicts, *settled} if start >= since):
        if window in settled:
            raised = settled[window] == "raised"
        elif not raised and _raises(rule, verdicts, window, size_ms):
            raised = True
            wanted.append((window, "raised"))
        elif raised and _clears(rule, verdicts, window, size_ms):
            raised = False
            wanted.append((window, "cleared"))
    changes = [
        Change(one, withdrawn=True, late=True)
        for one in log
        if one.window >= since and one.window in verdicts and (one.window, one.kind) not in wanted
    ]
    known = {(one.window, one.kind) for one in log}
    newest = max((one.window for one in log), default=-1)
    gone = [(one.window, one.kind) for one in state.log if not one.stands] if state else []
    changes += [
        Change(Entry(*one, nth=gone.count(one)), withdrawn=False, late=one[0] < newest)
        for one in wanted
        if one not in known
    ]
    return changes


def _raised_before(log: list[Entry], since: int) -> bool:
    """Whether the alarm was open before a window. Raised and cleared alternate, so the first that
    is remembered tells what was before it."""
    ordered = sorted(log, key=_order)
    before = [one for one in ordered if one.window < since]
    if before:
        return before[-1].kind == "raised"
    return bool(ordered) and ordered[0].kind == "cleared"


def _raises(rule: Rule, verdicts: Mapping[int, int], window: int, size_ms: int) -> bool:
    if verdicts[window] != BREACH:
        return False
    last = (verdicts.get(window - back * size_ms) for back in range(rule.of))
    return sum(one == BREACH for one in last) >= rule.windows


def _clears(rule: Rule, verdicts: Mapping[int, int], window: int, size_ms: int) -> bool:
    last = (verdicts.get(window - back * size_ms) for back in range(rule.clear_windows))
    return all(one == CLEAR for one in last)


def record(state: RuleState, changes: list[Change]) -> None:
    """Take the changes into the log, and forget the oldest beyond :data:`LOG`."""
    was_raised = state.is_raised
    for change in changes:
        if change.withdrawn:
            for one in state.log:
                if one == change.entry:
                    one.stands = False
        else:
            state.log.append(change.entry)
    state.log.sort(key=_order)
    del state.log[:-LOG]
    if not was_raised or not state.is_raised:
        state.acknowledged = ""


def transition_of(
    rule: Rule, device: str, change: Change, key: str, value: float | None, end_ms: int,
    muted_until: int,
) -> Transition:  # fmt: skip
    """A change as it is delivered; ``key`` names what it was decided on, ``end_ms`` is its end."""
    entry = change.entry
    kind: Kind = "withdrawn" if change.withdrawn else entry.kind
    told = transition_id(rule.name, device, key, entry.kind, entry.nth)
    named = f"{entry.kind} {kind}" if change.withdrawn else kind
    quiet = rule.quiet is not None and rule.quiet.covers(end_ms)
    return Transition(
        id=transition_id(rule.name, device, key, named, entry.nth) if change.withdrawn else told,
        kind=kind,
        rule=rule.name,
        device=device,
        severity=rule.severity,
        window=entry.window,
        key=key,
        value=value,
        text=_text(rule, device, value, key, kind),
        late=change.late,
        withdraws=told if change.withdrawn else "",
        notify=not quiet and end_ms > muted_until,
    )


def _text(rule: Rule, device: str, value: float | None, key: str, kind: Kind) -> str:
    shown = "no value" if value is None else f"{value:.6g}"
    text = rule.summary or ("{device} has sent nothing for {value} s" if rule.silent_s
                            else "{rule} on {device}: {value}")  # fmt: skip
    filled = text.format(
        rule=rule.name, device=device.removeprefix(GROUP), value=shown, window=key,
        severity=rule.severity,
    )  # fmt: skip
    return filled if kind == "raised" else f"{kind}: {filled}"
