"""Which readings are folded: decided from the record's own fields and never from a clock, so
that a replay decides the same."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.disposition import Disposition
from consumers.hot.windows import MAX_MAGNITUDE
from ingest.message import Reading
from ingest.tiers import Tier


class LatenessPolicy:
    """The lateness rules of one deployment, with their limits computed once."""

    def __init__(self, tiers: Sequence[Tier], clock_ahead_s: int) -> None:
        self._oldest_ms = [tier.oldest_ms for tier in tiers]
        self._no_tier_after_ms = max(self._oldest_ms)
        self._every_tier_until_ms = min(self._oldest_ms)
        self._all_tiers = range(len(tiers))
        self._ahead_ms = clock_ahead_s * 1000

    def disposition(self, reading: Reading, received_at: int) -> Disposition:
        """``ok``, or why the reading is not folded. ``received_at`` is the rule's time (ms)."""
        age = received_at - reading.ts
        if age < -self._ahead_ms:
            return "clock_ahead"
        if age > self._no_tier_after_ms:
            return "late"
        for value in reading.metrics.values():
            if not -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE:
                return "out_of_range"
        return "ok"

    def tiers(self, age: int) -> Sequence[int]:
        """Indices of the tiers that take a reading this old (ms)."""
        if age <= self._every_tier_until_ms:
            return self._all_tiers
        return [i for i, oldest in enumerate(self._oldest_ms) if age <= oldest]

    def tiers_of_all(self, least_age: int, greatest_age: int) -> Sequence[int] | None:
        """The tiers that take every reading of an age (ms) in this range; ``None`` when they must
        be judged one by one: some is early or late, or a tier takes only the younger ones."""
        if least_age < -self._ahead_ms or greatest_age > self._no_tier_after_ms:
            return None
        if greatest_age <= self._every_tier_until_ms:
            return self._all_tiers
        tiers = self.tiers(least_age)
        return tiers if tiers == self.tiers(greatest_age) else None
