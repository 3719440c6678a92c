"""Decides the rules of groups, from the windows of the devices of all shards.

A group's window is decided when every shard is read beyond its end and what was read has been
written: ``flush_s`` of the tier and a margin after its end. The last windows are decided again each
time, so that readings that come late correct what was decided without them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from consumers.alerts.alarms import Alarms, AlarmsCodec
from consumers.alerts.plan import Plan
from consumers.alerts.rules import Rule
from consumers.alerts.transition import GROUP
from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls
from consumers.fleet.groups import evaluations, merged_windows
from consumers.fleet.shards import Shards
from consumers.fleet.silence_watch import MARGIN_MS
from consumers.fleet.tables import Member, Tables
from consumers.hot.optimistic import OptimisticWriter, Store, write_all
from consumers.hot.windows import Window
from ingest.tiers import Tier

log: Final = logging.getLogger(__name__)

AGAIN: Final = 4
"""Windows before the newest that are decided again."""

FIRST: Final = 30
"""The same for a worker that begins: nobody may have decided them."""

MOST_DEVICES: Final = 5_000
"""Devices of a rule and group. The windows of each are read, once a window of the tier."""

READS: Final = 1_000
"""Devices from which on a round reads no further group."""


class GroupWatch:
    """The rules of groups at work. A round reads the windows of one group after the other."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        tables: Tables,
        store: Store,
        alerts_table: str,
        tiers: Sequence[Tier],
        shards: Shards,
        calls: Calls,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        by_name = {tier.name: tier for tier in tiers}
        self._plans = [  # a plan a rule: rules may select different devices of a group
            Plan(by_name[rule.tier], [rule])
            for rule in rules
            if rule.per_group and rule.tier in by_name
        ]
        self._tables = tables
        self._writer = OptimisticWriter(store, AlarmsCodec(alerts_table))
        self._shards = shards
        self._calls = calls
        self._backoff = backoff
        self._groups: list[dict[str, list[str]]] = []
        self._finding: list[dict[str, list[str]]] = [{} for _ in self._plans]
        self._decided: dict[int, int] = {}
        self._work: deque[tuple[int, str, int, int]] = deque()

    def __bool__(self) -> bool:
        """Whether there is any rule of groups."""
        return bool(self._plans)

    def found(self, members: Iterable[Member]) -> None:
        """Take in what a scan tells of devices. Those without a group are in none."""
        for member in members:
            for plan, groups in zip(self._plans, self._finding, strict=True):
                (rule,) = plan.rules
                if member.group and rule.selects(member.device, member.group, member.type):
                    groups.setdefault(member.group, []).append(member.device)

    def scanned(self) -> None:
        """The scan was the whole roster: these are the groups now."""
        self._groups, self._finding = self._finding, [{} for _ in self._plans]
        for plan, groups in zip(self._plans, self._groups, strict=True):
            for name in [name for name, devices in groups.items() if len(devices) > MOST_DEVICES]:
                log.error(
                    "rule %s is not decided for group %s: it has %d devices, more than %d",
                    plan.rules[0].name, name, len(groups.pop(name)), MOST_DEVICES,
                )  # fmt: skip

    def round(self, now: int) -> int:
        """Decide what is finished at ``now`` (ms, the store's time), or a part of it; how many
        items were written.

        :raises StoreError, GaveUpError: as the store does: begin anew with another watch.
        """
        if not self._groups:
            return 0
        if not self._work:
            self._work.extend(self._finished(min(now - MARGIN_MS, self._shards.all_written_until)))
        written = reads = 0
        while self._work and reads < READS:
            index, group, since, newest = self._work.popleft()
            devices = self._groups[index].get(group, ())
            written += self._decide(self._plans[index], group, devices, since, newest)
            reads += len(devices)
        return written

    def _finished(self, as_of: int) -> Iterator[tuple[int, str, int, int]]:
        """For each rule and group with windows that are finished since it was last asked: the first
        and the last window to decide."""
        for index, plan in enumerate(self._plans):
            size = plan.tier.size_ms
            until = as_of - int(plan.tier.flush_s * 1000)
            newest = until - until % size - size
            before = self._decided.get(index)
            if before is not None and newest <= before:
                continue
            self._decided[index] = newest
            since = newest - FIRST * size if before is None else before - AGAIN * size
            for group in self._groups[index]:
                yield index, group, since, newest

    def _decide(
        self, plan: Plan, group: str, devices: Sequence[str], since: int, newest: int
    ) -> int:
        back = plan.lookback + int(plan.compares)
        first = since - back * plan.tier.size_ms
        windows = [
            window
            for found in self._read(devices, plan.tier, first, newest)
            for window in found
        ]  # fmt: skip
        whole = merged_windows(group, plan.tier, windows)
        alarms = Alarms(GROUP + group)
        alarms.evaluations += evaluations(plan, whole, since)
        before = self._writer.items_written
        write_all([(self._writer, [alarms])], self._calls, self._backoff)
        return self._writer.items_written - before

    def _read(
        self, devices: Sequence[str], tier: Tier, first: int, newest: int
    ) -> Iterator[list[Window]]:
        for device in devices:
            while self._calls.waiting >= self._calls.limit:
                yield self._calls.result()
            self._calls.submit(partial(self._tables.windows, device, tier, first, newest))
        while self._calls.waiting:
            yield self._calls.result()
