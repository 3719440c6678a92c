"""A device's alarms: its state of every rule and its outbox, in one item of ``<stack>-alerts``.

One item, so that one conditional write moves both: a transition is recorded if and only if it waits
to be delivered. One item a device, not one a rule and device, so that a device's transitions have
one order, and a shard reads one item for each device that it hears.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec
from msgspec import Struct, field

from consumers.alerts.rules import Rule
from consumers.alerts.transition import (
    Change,
    Kind,
    RuleState,
    Transition,
    decide,
    record,
    transition_id,
    transition_of,
)
from consumers.hot.items import Attributes, AttributeValue
from ingest.tables.hot import window_name

log: Final = logging.getLogger(__name__)

MOST_WAITING: Final = 400
"""Transitions that wait for delivery, of one device. An item of DynamoDB takes 400 KB."""


class Waiting(Struct):
    """A transition that is not delivered everywhere yet, and who has taken it."""

    transition: Transition
    taken_by: list[str] = field(default_factory=list)


class Decision(Protocol):
    """What is to be decided about a device by one rule, now or again on a newer item."""

    @property
    def rule(self) -> Rule:
        """By this rule."""

    def decide(self, state: RuleState | None) -> list[Change]:
        """What has to be recorded on top of a state."""

    def take(self, device: str, state: RuleState, changes: list[Change]) -> list[Transition]:
        """Record the changes in the state; the transitions that tell of them."""


class Evaluation(Struct):
    """Windows of a device that are to be decided by a rule: arguments of
    :func:`consumers.alerts.transition.decide`, and the values to show, by window. ``late``: the
    first of them had been decided before."""

    rule: Rule
    verdicts: dict[int, int]
    since: int
    size_ms: int
    values: dict[int, float | None]
    late: bool = False

    def decide(self, state: RuleState | None) -> list[Change]:
        """See :class:`Decision`."""
        return decide(self.rule, state, self.verdicts, self.since, self.size_ms)

    def take(self, device: str, state: RuleState, changes: list[Change]) -> list[Transition]:
        """See :class:`Decision`."""
        made = [
            transition_of(
                self.rule,
                device,
                one._replace(late=one.late or self.late),
                window_name(self.rule.tier, one.entry.window),
                self.values.get(one.entry.window),
                one.entry.window + self.size_ms,
                state.muted_until,
            )
            for one in changes
        ]
        record(state, changes)
        return made


class Alarms:
    """One device's item. ``evaluations`` wait for the next write: on a conflict they are decided
    again on top of what another worker, or a person, has written."""

    __slots__ = ("device", "evaluations", "loaded", "outbox", "states", "ver")

    def __init__(self, device: str) -> None:
        self.device = device
        self.ver = 0
        self.loaded = False
        self.states: dict[str, RuleState] = {}
        self.outbox: list[Waiting] = []
        self.evaluations: list[Decision] = []

    def changes(self, evaluation: Decision) -> list[Change]:
        """What an evaluation would record now."""
        return evaluation.decide(self.states.get(evaluation.rule.name))

    def apply(self) -> bool:
        """Decide the evaluations on what is here, record the transitions and put them into the
        outbox; whether there was any."""
        found = False
        for evaluation in self.evaluations:
            changes = self.changes(evaluation)
            self.take(evaluation, changes)
            found |= bool(changes)
        return found

    def take(self, evaluation: Decision, changes: list[Change]) -> None:
        """Record changes, in the order of their windows, and queue their transitions."""
        if not changes:
            return
        rule = evaluation.rule
        state = self.states.setdefault(rule.name, RuleState([]))
        changes.sort(key=lambda one: (one.entry.window, not one.withdrawn))
        made = evaluation.take(self.device, state, changes)
        state.severity, state.text = rule.severity, made[-1].text
        self.outbox += map(Waiting, made)
        if len(self.outbox) > MOST_WAITING:
            log.error("%s has more than %d undelivered transitions: the oldest are dropped",
                      self.device, MOST_WAITING)  # fmt: skip
            del self.outbox[:-MOST_WAITING]

    def act(self, rule: str, kind: Kind, by: str, muted_until: int = 0) -> Transition:
        """What a person did to an alarm: acknowledge it, or mute it until a time (ms).

        :raises LookupError: when there is no open alarm to acknowledge.
        """
        state = self.states.get(rule)
        newest = state.newest if state else None
        if kind == "acknowledged" and (state is None or not state.is_raised):
            raise LookupError(f"{self.device} has no open alarm of rule {rule}")
        state = self.states.setdefault(rule, RuleState([]))
        key = f"person#{newest.window if newest else 0}"
        if kind == "acknowledged":
            if state.acknowledged:
                raise LookupError(f"{state.acknowledged} has acknowledged it already")
            state.acknowledged = by
        else:
            state.muted_until, key = muted_until, f"{key}#{muted_until}"
        made = Transition(
            id=transition_id(rule, self.device, key, kind), kind=kind, rule=rule,
            device=self.device, severity=state.severity, window=newest.window if newest else 0,
            key=key, value=None, text=f"{kind} by {by}: {rule} on {self.device}", by=by,
        )  # fmt: skip
        self.outbox.append(Waiting(made))
        return made

    @property
    def open_rules(self) -> list[str]:
        """The rules whose alarm is open."""
        return sorted(name for name, state in self.states.items() if state.is_raised)

    @property
    def changed(self) -> int:
        """The newest window (ms) at which an alarm changed; 0 without one."""
        return max((e.window for s in self.states.values() if (e := s.newest)), default=0)


class AlarmsCodec:
    """``<stack>-alerts``; a :class:`consumers.hot.items.Codec`. ``is_open`` and ``waits`` are the
    hash keys of two indexes: the alarms that are open, and the outboxes that hold something."""

    key_names: tuple[str, ...] = ("device",)
    columns: tuple[str, ...] = ("states", "outbox", "is_open", "waits", "changed")

    def __init__(self, table: str) -> None:
        self.table = table

    def key(self, item: Alarms) -> tuple[str, ...]:
        return (item.device,)

    def values(self, item: Alarms) -> list[AttributeValue]:
        return [
            {"S": msgspec.json.encode(item.states).decode()},
            {"S": msgspec.json.encode(item.outbox).decode()},
            {"S": "1" if item.open_rules else "0"},
            {"S": "1" if item.outbox else "0"},
            {"N": str(item.changed)},
        ]

    def merge_stored(self, item: Alarms, stored: Attributes | None) -> bool:
        item.loaded = True
        item.ver, item.states, item.outbox = 0, {}, []
        if stored is not None:
            load_alarms(item, stored)
        return item.apply()

    def settle(self, item: Alarms) -> None:
        item.evaluations.clear()


def load_alarms(item: Alarms, stored: Mapping[str, AttributeValue]) -> None:
    """Fill an item from what is stored."""
    item.ver = int(stored["ver"]["N"])
    item.states = msgspec.json.decode(stored["states"]["S"], type=dict[str, RuleState])
    item.outbox = msgspec.json.decode(stored["outbox"]["S"], type=list[Waiting])
