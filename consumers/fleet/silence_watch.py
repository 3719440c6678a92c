"""Finds the devices that are silent: without a look at those that are heard.

What a scan of the roster tells gives each device a deadline: when it was heard, and the limit of
its rule. A device whose deadline has come is looked at: first in the roster, a hundred a call, and
when it says nothing newer, in its newest window. What is then known is decided by
:mod:`consumers.fleet.silence` on the alarm's item under its version, so that two workers that do
this at once record each transition once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from itertools import islice
from typing import Any, Final

from consumers.alerts.alarms import Alarms, AlarmsCodec
from consumers.alerts.rules import Rule
from consumers.alerts.transition import RuleState
from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Call, Calls
from consumers.fleet.deadlines import Deadlines
from consumers.fleet.shards import Shards
from consumers.fleet.silence import Heard, Silence
from consumers.fleet.tables import Member, Tables
from consumers.hot.optimistic import OptimisticWriter, Store, write_all

MARGIN_MS: Final = 30_000
"""A device's silence is decided as of so long ago at the latest: by then what it sent is read, and
workers have said so."""

OFF_MS: Final = 60_000
"""The time between a reading's event time and its arrival from which on the windows do not tell
when a device was heard: its clock is behind, or it sends what it had stored."""

AGAIN_MS: Final = 5_000
"""After which a device is looked at again whose shard is behind."""

OPEN_MS: Final = 15_000
OPEN_LOOKS: Final = 20
"""Devices with an open alarm that are looked at in a round, each after :data:`OPEN_MS`."""

MOST_LOOKS: Final = 1000
"""Devices that are looked at in a round, because their deadlines have come."""

_KEYS_A_CALL: Final = 100


class _Device:
    """What is in memory of a device. ``at`` (ms): when it was heard last, as far as is known;
    ``decided_at`` is what of that its open alarms were decided on."""

    __slots__ = ("at", "decided_at", "looked", "raised", "rules")

    def __init__(self, rules: tuple[Rule, ...], raised: frozenset[str]) -> None:
        self.rules = rules
        self.raised = raised
        self.at = self.decided_at = self.looked = 0

    @property
    def limit(self) -> int:
        """The shortest limit (ms) that has not been reached; 0 when every alarm is open."""
        limits = (rule.silent_s for rule in self.rules if rule.name not in self.raised)
        return 1000 * min(limits, default=0)


class SilenceWatch:
    """The rules of silence at work on all devices of a deployment."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        tables: Tables,
        store: Store,
        alerts_table: str,
        shards: Shards,
        calls: Calls,
        latest_flush_ms: int,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        """``latest_flush_ms`` is how far the roster may be behind."""
        self._rules = [rule for rule in rules if rule.silent_s]
        self._names = frozenset(rule.name for rule in self._rules)
        self._tables = tables
        self._writer = OptimisticWriter(store, AlarmsCodec(alerts_table))
        self._shards = shards
        self._calls = calls
        self._latest_flush_ms = latest_flush_ms
        self._backoff = backoff
        self._devices: dict[str, _Device] = {}
        self._sets: dict[tuple[str, ...], tuple[Rule, ...]] = {}
        self._name_sets: dict[frozenset[str], frozenset[str]] = {}
        self._deadlines = Deadlines()
        self._raised: dict[str, frozenset[str]] = {}
        self._open: dict[str, None] = {}
        self._heard_again: dict[str, None] = {}

    def __bool__(self) -> bool:
        """Whether there is any rule of silence."""
        return bool(self._rules)

    def found_open(self, alarms: Mapping[str, Mapping[str, RuleState]]) -> None:
        """Take in which alarms are open, before a scan begins."""
        self._raised = {}
        for name, states in alarms.items():
            mine = {rule for rule, state in states.items() if state.is_raised} & self._names
            if mine:
                self._raised[name] = self._same(mine)
                if name in self._devices:
                    device = self._devices[name]
                    device.raised = self._same(device.raised | mine)
                    self._open.setdefault(name)

    def _same(self, names: Set[str]) -> frozenset[str]:
        """The one object for a set of rules' names, however many devices have it."""
        known = frozenset(names)
        return self._name_sets.setdefault(known, known)

    def found(self, members: Iterable[Member]) -> None:
        """Take in what a scan tells of devices. One that never sent is not silent."""
        for member in members:
            rules = self._of(member)
            if not member.seen or not rules:
                self._forget(member.device)
                continue
            device = self._devices.get(member.device)
            if device is None:
                raised = self._raised.get(member.device, frozenset())
                device = self._devices[member.device] = _Device(rules, raised)
                if raised:
                    self._heard_again[member.device] = None
            device.rules = rules
            at = max(member.seen, member.ts)
            if at > device.at:
                device.at = at
                self._plan(member.device, device, at)
                if device.raised:
                    self._heard_again[member.device] = None

    def _of(self, member: Member) -> tuple[Rule, ...]:
        """The rules for a device; the same object for all that have the same."""
        mine = [r for r in self._rules if r.selects(member.device, member.group, member.type)]
        return self._sets.setdefault(tuple(rule.name for rule in mine), tuple(mine))

    def _plan(self, name: str, device: _Device, since: int) -> None:
        """Say when a device is looked at, that may have been heard at ``since``."""
        if limit := device.limit:
            self._deadlines.set(name, since + limit + MARGIN_MS)
        else:
            self._deadlines.forget(name)
        if device.raised:
            self._open.setdefault(name)
        else:
            self._open.pop(name, None)

    def _not_before(self, device: _Device, since: int, now: int) -> int:
        """``since``, or later, so that the device is not looked at again at once."""
        return max(since, now + AGAIN_MS - device.limit - MARGIN_MS)

    def _forget(self, name: str) -> None:
        self._devices.pop(name, None)
        self._deadlines.forget(name)
        self._open.pop(name, None)

    def round(self, now: int) -> int:
        """Look at the devices whose time has come at ``now`` (ms, the store's time), and record
        what follows; how many items were written.

        :raises StoreError, GaveUpError: as the store does: begin anew with another watch.
        """
        looks: dict[str, int] = {}
        for name in self._deadlines.take(now, MOST_LOOKS):
            as_of, device = self._as_of(name, now), self._devices[name]
            if as_of - device.at >= device.limit:
                looks[name] = as_of
            else:
                self._deadlines.set(name, now + AGAIN_MS)  # its shard is behind
        heard_again = list(islice(self._heard_again, MOST_LOOKS))
        for name in [*heard_again, *self._next_open(now)]:
            self._heard_again.pop(name, None)
            if name in self._devices:
                looks.setdefault(name, self._as_of(name, now))
        return self._look(looks, now) if looks else 0

    def _as_of(self, name: str, now: int) -> int:
        return min(now - MARGIN_MS, self._shards.written_until(name))

    def _next_open(self, now: int) -> list[str]:
        """The devices with an open alarm that were not looked at for the longest time."""
        found: list[str] = []
        for name in list(islice(self._open, OPEN_LOOKS)):
            if now - self._devices[name].looked < OPEN_MS:
                break
            del self._open[name]
            self._open[name] = None  # to the end
            found.append(name)
        return found

    def _look(self, looks: Mapping[str, int], now: int) -> int:
        """Read what is stored of devices, and decide it, each as of its time (ms)."""
        names = list(looks)
        members: dict[str, Member] = {}
        batches = [names[at : at + _KEYS_A_CALL] for at in range(0, len(names), _KEYS_A_CALL)]
        for page in self._answers(partial(self._tables.members, batch) for batch in batches):
            members |= {one.device: one for one in page.members}
        for name in names:
            if name not in members:
                self._forget(name)  # it was deleted
        unsure = [name for name in members if self._is_unsure(members[name], looks[name])]
        newest = dict(self._answers(partial(self._newest, name) for name in unsure))
        alarms = [
            one
            for name, member in members.items()
            if (one := self._questions(member, newest.get(name, 0), looks[name], now)).evaluations
        ]
        before = self._writer.items_written
        write_all([(self._writer, alarms)], self._calls, self._backoff)
        for one in alarms:
            device = self._devices[one.device]
            device.raised = self._same(self._names & set(one.open_rules))
            device.decided_at = device.at
            if one.evaluations:  # nothing had to be written
                one.evaluations.clear()
            self._plan(one.device, device, self._not_before(device, device.at, now))
        return self._writer.items_written - before

    def _is_unsure(self, member: Member, as_of: int) -> bool:
        """Whether the newest window may tell more than the roster does."""
        device = self._devices[member.device]
        device.at = max(device.at, member.seen, member.ts)
        return bool(device.raised) or as_of - device.at >= device.limit

    def _newest(self, name: str) -> tuple[str, int]:
        return name, self._tables.newest_ts(name)

    def _questions(self, member: Member, newest: int, as_of: int, now: int) -> Alarms:
        """What is to be decided of a device, and when it is looked at next."""
        name = member.device
        device = self._devices[name]
        device.looked = now
        device.at = max(device.at, newest)
        blind = self._latest_flush_ms if member.seen - member.ts > OFF_MS else 0
        self._plan(name, device, self._not_before(device, device.at + blind, now))
        heard, alarms = Heard(device.at, max(member.ts, newest), blind), Alarms(name)
        for rule in device.rules:
            if (
                device.at > device.decided_at
                if rule.name in device.raised
                else as_of - device.at - blind >= rule.silent_s * 1000
            ):
                alarms.evaluations.append(Silence(rule, heard, as_of))
        return alarms

    def _answers(self, calls: Iterable[Call]) -> Iterable[Any]:
        """What calls answer, several of them in flight."""
        for call in calls:
            while self._calls.waiting >= self._calls.limit:
                yield self._calls.result()
            self._calls.submit(call)
        while self._calls.waiting:
            yield self._calls.result()
