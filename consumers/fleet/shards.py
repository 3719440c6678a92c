"""Until when each shard's records are in the hot tables, from what the workers report. Pure.

A device whose shard is behind may have sent what nobody has read yet, and of a shard that was
behind a moment ago, what was read may not be written yet. So a silence is decided only as of the
time until which all of that is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from consumers.kcl.leases import Lease

BEHIND_MS: Final = 15_000
"""A shard with a greater lag than this, or without a report for so long, is behind."""

_EVERY: Final = (0, 2**128 - 1)


class _Reports:
    """What is known of a shard: until when it was read, by the newest report and by those in which
    it was behind that are not older than what is read takes to be written."""

    __slots__ = ("at", "behind", "until")

    def __init__(self, at: int, until: int) -> None:
        self.at = at
        self.until = until
        self.behind = [(at, 0)]  # nobody knows what was before

    def heard(self, at: int, until: int, settle_ms: int) -> None:
        if at <= self.at:
            return
        if at - self.at > BEHIND_MS:
            self.behind.append((at, self.until))
        if at - until > BEHIND_MS:
            self.behind.append((at, until))
        self.at, self.until = at, max(self.until, until)
        self.behind = [one for one in self.behind if one[0] > at - settle_ms]

    @property
    def written_until(self) -> int:
        return min((until for _, until in self.behind), default=self.until)


class Shards:
    """The shards of a stream, by the hash keys that they take. ``settle_ms`` is how long what is
    read takes to be written to the windows of the finest tier."""

    def __init__(self, settle_ms: int) -> None:
        self._settle_ms = settle_ms
        self._living: list[tuple[int, int, str]] = []
        self._reports: dict[str, _Reports] = {}

    def saw(self, leases: Sequence[Lease]) -> None:
        """Take a reading of the lease table; from any thread."""
        self._living = [(*(one.hashes or _EVERY), one.shard) for one in leases if not one.ended]

    def heard(self, reports: Iterable[Mapping[str, Any]]) -> None:
        """Take the workers' reports, see :mod:`ingest.tables.status`."""
        for report in sorted(reports, key=lambda one: int(one["updated_at"])):
            at = int(report["updated_at"])
            for shard in report.get("shards", ()):
                if (lag := shard.get("lag_ms")) is not None:
                    known = self._reports.setdefault(shard["shard"], _Reports(at, at - int(lag)))
                    known.heard(at, at - int(lag), self._settle_ms)

    def forget(self) -> None:
        """Begin anew: reports of a while were not read."""
        self._reports = {}

    def written_until(self, device: str) -> int:
        """The time (ms) until which all that a device sent is written; 0 when nobody knows."""
        key = int.from_bytes(hashlib.md5(device.encode(), usedforsecurity=False).digest())
        return self._least(shard for first, last, shard in self._living if first <= key <= last)

    @property
    def all_written_until(self) -> int:
        """The same for all devices."""
        return self._least(shard for *_, shard in self._living)

    def _least(self, shards: Iterable[str]) -> int:
        return min((self._written_until(shard) for shard in shards), default=0)

    def _written_until(self, shard: str) -> int:
        known = self._reports.get(shard)
        return known.written_until if known else 0
