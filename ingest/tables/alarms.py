"""``<stack>-alerts`` as everybody who reads or changes an alarm knows it: an item a device, with
its state of every rule and its outbox.

Workers record transitions (:mod:`consumers.alerts`); a person's acts are decided here, so that the
command line and the dashboard record the same. :mod:`ingest.tables.alarm_acts` writes them.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

log: Final = logging.getLogger(__name__)

Kind = Literal["raised", "cleared", "withdrawn", "acknowledged", "muted", "unmuted"]

OPEN_INDEX: Final = "open"
"""The index by ``is_open`` and ``changed``: the devices with an open alarm, and the others."""

COLUMNS: Final = ("states", "outbox", "is_open", "waits", "changed")
"""The attributes beside ``device`` and ``ver``. ``is_open`` and ``waits`` are hash keys of indexes;
``changed`` is when a transition was last recorded (ms, the clock of who recorded it)."""

OVERLAP_MS: Final = 30_000
"""Who follows changes reads again what changed so long before: clocks of workers differ, and an
index lags behind its table."""

ACTS: Final = 24
"""What people did that is remembered of a rule and device."""

MOST_WAITING: Final = 400
"""Transitions that wait for delivery, of one device. An item of DynamoDB takes 400 KB."""


class Entry(Struct, array_like=True):
    """One transition that was recorded: at the window that begins at ``window`` (ms), for the
    ``nth`` time when late data turned it over and back. ``stands`` until it is withdrawn."""

    window: int
    kind: Kind
    nth: int = 0
    stands: bool = True


class Act(Struct, array_like=True):
    """What a person did to an alarm, and when (ms, the clock of who recorded it). ``until`` (ms) is
    the end of a mute."""

    at: int
    kind: Kind
    by: str
    until: int = 0


class RuleState(Struct, omit_defaults=True):
    """What is stored of a rule and a device: the newest transitions, and the newest ``acts`` of
    people. ``acknowledged`` is by whom; ``muted_until`` (ms) is compared with the end of a window.
    ``as_of`` (ms) is of rules of silence: until when what was known has decided the newest
    transition, see :mod:`consumers.fleet.silence`."""

    log: list[Entry]
    acknowledged: str = ""
    muted_until: int = 0
    severity: str = ""
    text: str = ""
    as_of: int = 0
    acts: list[Act] = []

    @property
    def newest(self) -> Entry | None:
        """The newest transition that stands."""
        return max((one for one in self.log if one.stands), key=lambda e: e.window, default=None)

    @property
    def is_raised(self) -> bool:
        """Whether the alarm is open."""
        newest = self.newest
        return newest is not None and newest.kind == "raised"


class Transition(Struct, omit_defaults=False):
    """A transition as it is delivered. Everything in it follows from rule, device and windows; what
    a person did carries ``by``. ``window`` is its start (ms) and ``key`` its name. With ``notify``
    false nobody is to be woken: the rule is quiet then, or muted. ``withdraws`` is the id of the
    transition that late data proved wrong. ``as_of`` (ms) is of rules of silence: until when the
    device was not heard, or when it was heard again."""

    id: str
    kind: Kind
    rule: str
    device: str
    severity: str
    window: int
    key: str
    value: float | None
    text: str
    late: bool = False
    notify: bool = True
    by: str = ""
    withdraws: str = ""
    as_of: int | None = None


class Waiting(Struct):
    """A transition that is not delivered everywhere yet, and who has taken it."""

    transition: Transition
    taken_by: list[str] = field(default_factory=list)


def transition_id(rule: str, device: str, key: str, kind: str, nth: int = 0) -> str:
    """The id of a transition: a function of rule, device and window (and of the how-manieth time,
    when late data turned it over and back).

    >>> transition_id("hot", "pump-1", "1m#2026-11-25T08:00:00Z", "raised")
    'fe3efe0bf85898028d627c6caee79f6b'
    """
    text = "\n".join([rule, device, key, kind, *([str(nth)] if nth else [])])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class DeviceAlarms:
    """One device's item. ``ver`` is 0 while nothing is stored."""

    __slots__ = ("device", "outbox", "states", "ver")

    def __init__(self, device: str) -> None:
        self.device = device
        self.ver = 0
        self.states: dict[str, RuleState] = {}
        self.outbox: list[Waiting] = []

    def act(
        self, rule: str, kind: Kind, by: str, muted_until: int = 0, *, now_ms: int
    ) -> Transition:
        """What a person does to an alarm now: acknowledge it, or mute it until a time (ms).

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
            state.muted_until, key = muted_until, f"{key}#{now_ms}"
        state.acts = [*state.acts, Act(now_ms, kind, by, muted_until)][-ACTS:]
        made = Transition(
            id=transition_id(rule, self.device, key, kind), kind=kind, rule=rule,
            device=self.device, severity=state.severity, window=newest.window if newest else 0,
            key=key, value=None, text=f"{kind} by {by}: {rule} on {self.device}", by=by,
        )  # fmt: skip
        self.queue([made])
        return made

    def queue(self, made: Iterable[Transition]) -> None:
        """Let transitions wait for delivery; the oldest are dropped beyond what an item holds."""
        self.outbox += map(Waiting, made)
        if len(self.outbox) > MOST_WAITING:
            log.error("%s has more than %d undelivered transitions: the oldest are dropped",
                      self.device, MOST_WAITING)  # fmt: skip
            del self.outbox[:-MOST_WAITING]

    @property
    def open_rules(self) -> list[str]:
        """The rules whose alarm is open."""
        return sorted(name for name, state in self.states.items() if state.is_raised)

    def values(self, now_ms: int) -> list[Any]:
        """The attributes of :data:`COLUMNS`, as they are written at ``now_ms``."""
        return [
            {"S": msgspec.json.encode(self.states).decode()},
            {"S": msgspec.json.encode(self.outbox).decode()},
            {"S": "1" if self.open_rules else "0"},
            {"S": "1" if self.outbox else "0"},
            {"N": str(now_ms)},
        ]

    def load(self, stored: Mapping[str, Any]) -> None:
        """Take what is stored."""
        self.ver = int(stored["ver"]["N"])
        self.states = msgspec.json.decode(stored["states"]["S"], type=dict[str, RuleState])
        self.outbox = msgspec.json.decode(stored["outbox"]["S"], type=list[Waiting])


def read_alarms(item: Mapping[str, Any]) -> DeviceAlarms:
    """A device's alarms from an item."""
    alarms = DeviceAlarms(item["device"]["S"])
    alarms.load(item)
    return alarms


def changed_at(item: Mapping[str, Any]) -> int:
    """When an item last changed (ms)."""
    return int(item["changed"]["N"])


def alarms_query(
    table: str, *, is_open: bool, since_ms: int | None = None, until_ms: int | None = None
) -> dict[str, Any]:
    """The devices with an open alarm, or those that had one before, the latest change first; with
    ``since_ms`` those that changed then or later, or with ``until_ms`` then or earlier."""
    query: dict[str, Any] = {
        "TableName": table,
        "IndexName": OPEN_INDEX,
        "KeyConditionExpression": "is_open = :open",
        "ExpressionAttributeValues": {":open": {"S": "1" if is_open else "0"}},
        "ScanIndexForward": False,
    }
    if since_ms is not None:
        query["KeyConditionExpression"] += " AND changed >= :since"
        query["ExpressionAttributeValues"][":since"] = {"N": str(since_ms)}
    elif until_ms is not None:
        query["KeyConditionExpression"] += " AND changed <= :until"
        query["ExpressionAttributeValues"][":until"] = {"N": str(until_ms)}
    return query


def wall_ms() -> int:
    """The time (ms)."""
    return time.time_ns() // 1_000_000
