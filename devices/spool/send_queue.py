"""Which readings of a spool are sent next. Decides only; :mod:`devices.spool.client` sends.

Two parts of the spool are sent. The backlog is what waited when the device connected, and what is
to be sent again. The live part is everything stored since; a message of it is sent when it is
full, when its oldest reading is old enough, or on :meth:`SendQueue.flush`.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from devices.batch import ENVELOPE_BYTES, BatchLimits
from devices.spool.batch import Batch
from devices.spool.spool import Spool

Order = Literal["oldest_first", "live_first"]
"""Whether the backlog goes before or after the live part."""


class SendQueue:
    """The unsent part of a spool. Times (``now``) are seconds of any monotonic clock."""

    def __init__(self, spool: Spool, limits: BatchLimits, order: Order) -> None:
        self.limits = limits
        self._spool = spool
        self._order = order
        self._backlog: deque[tuple[int, int]] = deque()
        self._live = 0
        self._due: float | None = None
        self._flushing = False
        self._published: dict[int, tuple[int, float]] = {}

    @property
    def full(self) -> bool:
        """Whether the live part fills a message."""
        return self._spool.end - self._live >= self.limits.readings

    def reset(self) -> None:
        """Send everything in the spool, by a new client."""
        self._backlog.clear()
        self._published.clear()
        self._backlog.append((0, self._spool.end))
        self._live = self._spool.end
        self._due = None

    def on_added(self, now: float) -> bool:
        """A reading was stored; whether it begins a message, which is due in ``age_s``."""
        if self._due is not None:
            return False
        self._due = now + self.limits.age_s
        return True

    def on_reconnected(self) -> None:
        """With ``live_first``, what is unsent now goes after what is stored from now on."""
        if self._order == "live_first":
            self._backlog.append((self._live, self._spool.end))
            self._live = self._spool.end

    def on_published(self, batch: Batch, now: float) -> None:
        """Expect a durable acknowledgement of this batch."""
        self._published[batch.first] = (batch.last, now)

    def flush(self) -> None:
        """Do not wait for a full message."""
        self._flushing = True

    def requeue_unacknowledged(self, now: float, after_s: float) -> int:
        """Send again the batches that were published ``after_s`` ago and are still in the spool;
        how many there are."""
        count = 0
        for first, (last, at) in list(self._published.items()):
            if now - at < after_s:
                break
            del self._published[first]
            if self._spool.read(first, last + 1, 1, 1) is not None:
                self._backlog.append((first, last + 1))
                count += 1
        return count

    def next(self, now: float) -> Batch | None:
        """The next batch to send, or ``None`` when it is not time for one."""
        if self._order == "oldest_first" and (batch := self._from_backlog()) is not None:
            return batch
        due = self._due is not None and now >= self._due
        if self.full or due or self._flushing:
            batch = self._read(self._live, self._spool.end)
            self._live = self._spool.end if batch is None else batch.last + 1
            if self._live >= self._spool.end:
                self._due, self._flushing = None, False
            if batch is not None:
                return batch
        return self._from_backlog()

    def _from_backlog(self) -> Batch | None:
        while self._backlog:
            position, end = self._backlog.popleft()
            batch = self._read(position, end)
            if batch is not None:
                if batch.last + 1 < end:
                    self._backlog.appendleft((batch.last + 1, end))
                return batch
        return None

    def _read(self, position: int, end: int) -> Batch | None:
        limits = self.limits
        return self._spool.read(position, end, limits.readings, limits.bytes - ENVELOPE_BYTES)
