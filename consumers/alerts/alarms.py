"""A device's alarms: its state of every rule and its outbox, in one item of ``<stack>-alerts``.

One item, so that one conditional write moves both: a transition is recorded if and only if it waits
to be delivered. One item a device, not one a rule and device, so that a device's transitions have
one order, and a shard reads one item for each device that it hears.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from consumers.alerts.rules import Rule
from consumers.alerts.transition import Change, decide, record, transition_of
from consumers.hot.items import Attributes, AttributeValue
from ingest.tables.alarms import COLUMNS, DeviceAlarms, RuleState, Transition, Waiting, wall_ms
from ingest.tables.hot import window_name

__all__ = ["Waiting"]


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


class Alarms(DeviceAlarms):
    """One device's item. ``evaluations`` wait for the next write: on a conflict they are decided
    again on top of what another worker, or a person, has written."""

    __slots__ = ("evaluations", "loaded")

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.loaded = False
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
        self.queue(made)


class AlarmsCodec:
    """``<stack>-alerts``; a :class:`consumers.hot.items.Codec`. ``is_open`` and ``waits`` are the
    hash keys of two indexes: the alarms that are open, and the outboxes that hold something.
    ``changed`` is the clock's time, for who follows: nothing is decided by it."""

    key_names: tuple[str, ...] = ("device",)
    columns: tuple[str, ...] = COLUMNS

    def __init__(self, table: str, now_ms: Callable[[], int] = wall_ms) -> None:
        self.table = table
        self._now_ms = now_ms

    def key(self, item: Alarms) -> tuple[str, ...]:
        return (item.device,)

    def values(self, item: Alarms) -> list[AttributeValue]:
        return item.values(self._now_ms())

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
    item.load(stored)
