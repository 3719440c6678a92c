"""The latest state of a device, as the roster shows it.

A merge of "newest wins" is idempotent, so it needs no ids: merging a reading twice, or two
states of the same device in either order, gives the same state.
"""

from __future__ import annotations

from consumers.hot.flush_queue import NEVER
from consumers.hot.runs import Run


class DeviceState:
    """Newest value of each metric, and the newest reading's identity and times (ms).

    ``metrics`` is name to ``(value, ts)``: the newest ``ts`` wins, of equal ones the greater
    value. ``last_ts``, ``boot`` and ``seq`` are those of the newest reading by
    ``(ts, boot, seq)``. ``last_seen`` is the greatest ``received_at``. ``loaded`` says whether
    the stored item (version ``ver``) is merged in; ``dirty`` whether this state is newer than it.
    """

    __slots__ = (
        "device", "dirty", "epoch", "last_seen", "loaded", "metrics", "newest", "slot",
        "touched", "ver",
    )  # fmt: skip

    def __init__(self, device: str) -> None:
        self.device = device
        self.ver = 0
        self.loaded = False
        self.dirty = False
        self.slot = NEVER
        self.epoch = 0
        self.touched = 0
        self.metrics: dict[str, tuple[float, int]] = {}
        self.newest: tuple[int, str, int] | None = None
        self.last_seen = 0

    def merge_run(self, run: Run, received_at: int) -> None:
        """Merge a run whose last record was received then (ms)."""
        known = self.metrics
        for name, metric in run.metrics.items():
            newest = known.get(name)
            if newest is None or metric.last_at > newest[1]:
                known[name] = (metric.last, metric.last_at)
            else:
                self._merge_metric(name, metric.last, metric.last_at)
        self._merge_newest(run.latest(), received_at)
        self.dirty = True

    def merge_stored(self, stored: StoredState | None) -> None:
        """Merge the stored item; afterwards ``dirty`` says whether this state must be written."""
        self.loaded = True
        self.ver = stored.ver if stored else 0
        if stored is None:
            return
        for name, (value, ts) in stored.metrics.items():
            self._merge_metric(name, value, ts)
        if stored.newest:
            self._merge_newest(stored.newest, stored.last_seen)
        self.dirty = (self.metrics, self.newest, self.last_seen) != (
            stored.metrics,
            stored.newest,
            stored.last_seen,
        )

    def _merge_metric(self, name: str, value: float, ts: int) -> None:
        known = self.metrics.get(name)
        if known is None or (ts, value) > (known[1], known[0]):
            self.metrics[name] = (value, ts)

    def _merge_newest(self, newest: tuple[int, str, int], last_seen: int) -> None:
        if self.newest is None or newest > self.newest:
            self.newest = newest
        self.last_seen = max(self.last_seen, last_seen)


class StoredState:
    """A device's item. ``newest`` is ``None`` for a provisioned device that never sent."""

    __slots__ = ("last_seen", "metrics", "newest", "ver")

    def __init__(
        self,
        ver: int,
        metrics: dict[str, tuple[float, int]],
        newest: tuple[int, str, int] | None,
        last_seen: int,
    ) -> None:
        self.ver = ver
        self.metrics = metrics
        self.newest = newest
        self.last_seen = last_seen
