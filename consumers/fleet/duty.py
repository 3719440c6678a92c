"""The duty of one worker of a deployment: rules that are about devices of every shard.

It is the worker that holds the first shard's lease. A round takes under a second; what it knows is
in memory, and a worker that begins, or of which a round failed, begins anew with a scan of the
roster. Two workers may do it for a moment: a transition is recorded under the version of its item.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from consumers.alerts.rules import RuleSet
from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Calls
from consumers.fleet.group_watch import GroupWatch
from consumers.fleet.shards import Shards
from consumers.fleet.silence_watch import SilenceWatch
from consumers.fleet.tables import PAGE, Page, Tables
from consumers.hot.optimistic import Store
from ingest.tiers import Tier

RULES_S: Final = 5.0
"""How often the rules and the workers' reports are read (s)."""

SCAN_S: Final = 3.0
"""The time between two pages of a scan (s): 333 devices a second. A scan of 100,000 devices lasts
five minutes, and costs 2,700 read units."""

FIRST_PAGES: Final = 10
"""Pages that a round reads in the first scan, which nothing is known before."""

SHORTEST_SCAN_S: Final = 10.0


class FleetDuty:
    """Rules of silence and of groups at work; one thread calls :meth:`round`."""

    def __init__(
        self,
        *,
        tables: Tables,
        store: Store,
        alerts_table: str,
        tiers: Sequence[Tier],
        latest_flush_s: float,
        shards: Shards,
        calls: Calls,
        clock: Callable[[], float] = time.monotonic,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        """``latest_flush_s`` is how far the roster may be behind; ``clock`` is monotonic (s)."""
        self._tables = tables
        self._store = store
        self._alerts_table = alerts_table
        self._tiers = tiers
        self._latest_flush_ms = int(latest_flush_s * 1000)
        self._shards = shards
        self._calls = calls
        self._clock = clock
        self._backoff = backoff
        self._rules = RuleSet(ver=-1)
        self._silence: SilenceWatch
        self._groups: GroupWatch
        self.forget()

    def forget(self) -> None:
        """Begin anew: another worker has had the duty, or a round failed."""
        while self._calls.waiting:
            with contextlib.suppress(Exception):  # of what a round had asked when it failed
                self._calls.result()
        self._shards.forget()
        self._asked = self._scan_at = self._scan_began = float("-inf")
        self._more: Any = None
        self._is_first_scan = True
        self._store_ms = self._store_at = 0.0
        self._set_rules(self._rules)

    def _set_rules(self, rules: RuleSet) -> None:
        self._rules = rules
        self._silence = SilenceWatch(
            rules.rules, tables=self._tables, store=self._store, alerts_table=self._alerts_table,
            shards=self._shards, calls=self._calls, latest_flush_ms=self._latest_flush_ms,
            backoff=self._backoff,
        )  # fmt: skip
        self._groups = GroupWatch(
            rules.rules, tables=self._tables, store=self._store, alerts_table=self._alerts_table,
            tiers=self._tiers, shards=self._shards, calls=self._calls, backoff=self._backoff,
        )  # fmt: skip

    @property
    def is_first_scan(self) -> bool:
        """Whether the roster has not been read to its end since this worker began."""
        return self._is_first_scan

    def round(self) -> int:
        """Do what is due; how many items were written.

        :raises ClientError, BotoCoreError, StoreError, GaveUpError: as AWS does; call
            :meth:`forget` then.
        """
        now = self._clock()
        if now - self._asked >= RULES_S:
            self._asked = now
            rules = self._tables.rules()
            if rules.ver != self._rules.ver:
                self.forget()
                self._asked = now
                self._set_rules(rules)
            if self._silence or self._groups:
                self._shards.heard(self._tables.reports())
        if not self._silence and not self._groups:
            return 0
        self._scan(now)
        at = int(self._store_ms + (self._clock() - self._store_at) * 1000)
        return self._silence.round(at) + self._groups.round(at)

    def _scan(self, now: float) -> None:
        """Read the next pages of the roster, if it is time."""
        begins = self._more is None
        if now < self._scan_at or (begins and now - self._scan_began < SHORTEST_SCAN_S):
            return
        if begins:
            self._scan_began = now
            if self._silence:
                self._silence.found_open(self._tables.open_alarms())
        for _ in range(FIRST_PAGES if self._is_first_scan else 1):
            page = self._tables.scan(self._more)
            self._take(page)
            self._scan_at = now + SCAN_S * len(page.members) / PAGE
            if page.more is None:
                break
        if self._is_first_scan:
            self._scan_at = now
        self._is_first_scan &= self._more is not None

    def _take(self, page: Page) -> None:
        self._store_ms, self._store_at = float(page.at), self._clock()
        self._more = page.more
        self._silence.found(page.members)
        self._groups.found(page.members)
        if page.more is None:
            self._groups.scanned()
