"""Which readings a device's schema does not take: a function of the record and the history.

A record is judged by the schemas that were in force when the stream took it (``arrived_at``), so
that it is judged the same by a second worker and after a crash. Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import inf
from typing import Protocol

from consumers.record import ShardRecord
from ingest.message import Message
from ingest.schemas.schema import QUARANTINE, History, Schema


class Extent(Protocol):
    """The least and the greatest value of a metric, as :class:`consumers.hot.metric.Metric`."""

    @property
    def min(self) -> float:
        """The least."""

    @property
    def max(self) -> float:
        """The greatest."""


class Extents(Protocol):
    """What of a :class:`consumers.hot.runs.Run` decides."""

    @property
    def metrics(self) -> Mapping[str, Extent]:
        """The extent of each metric's values."""


class Limits:
    """One schema's ranges. ``quarantines``: what is outside is not folded."""

    __slots__ = ("_ranges", "quarantines")

    def __init__(self, schema: Schema) -> None:
        self.quarantines = schema.outside == QUARANTINE
        self._ranges = {
            name: (
                -inf if metric.min is None else metric.min,
                inf if metric.max is None else metric.max,
            )
            for name, metric in schema.metrics.items()
        }

    def takes(self, metrics: Mapping[str, float]) -> bool:
        """Whether a reading has only metrics of the schema, each in its range."""
        ranges = self._ranges
        for name, value in metrics.items():
            known = ranges.get(name)
            if known is None or not known[0] <= value <= known[1]:
                return False
        return True

    def takes_all(self, extents: Mapping[str, Extent]) -> bool:
        """The same for all readings of a run, by the least and the greatest value of each
        metric."""
        ranges = self._ranges
        for name, extent in extents.items():
            known = ranges.get(name)
            if known is None or extent.min < known[0] or extent.max > known[1]:
                return False
        return True


class Judge:
    """The limits of each device at each time. ``types`` is device to type; a device that is not in
    it, or whose type has no schema, has no limits."""

    def __init__(self, history: History, types: Mapping[str, str]) -> None:
        self._since = [one.since for one in history.applied]
        self._limits = [
            {schema.type: Limits(schema) for schema in one.schemas} for one in history.applied
        ]
        self._types = types

    def limits(self, device: str, arrived_at: int) -> Limits | None:
        """The limits for a device's record that arrived then (ms)."""
        place = bisect_right(self._since, arrived_at)
        return self._limits[place - 1].get(self._types.get(device, "")) if place else None

    def quarantines(self, device: str, arrived_at: int, metrics: Mapping[str, float]) -> bool:
        """Whether a reading must not be folded whose record arrived then (ms)."""
        limits = self.limits(device, arrived_at)
        return limits is not None and limits.quarantines and not limits.takes(metrics)

    def takes_all(
        self, device: str, records: Sequence[ShardRecord], runs: Sequence[Extents]
    ) -> bool:
        """Whether no reading of these records, of which the runs are made, is quarantined. It is
        decided by each metric's least and greatest value; not where other schemas come into force
        between the records, which answers ``False``."""
        arrived = [record.arrived_at for record in records]
        first, last = min(arrived), max(arrived)
        if bisect_right(self._since, first) != bisect_right(self._since, last):
            return False
        limits = self.limits(device, first)
        if limits is None or not limits.quarantines:
            return True
        return all(limits.takes_all(run.metrics) for run in runs)

    def outside(
        self, device: str, records: Sequence[ShardRecord], messages: Sequence[Message | None]
    ) -> int:
        """How many readings of these records are outside of a schema that only warns."""
        outside = 0
        for record, message in zip(records, messages, strict=True):
            limits = self.limits(device, record.arrived_at)
            if limits is not None and not limits.quarantines and message is not None:
                outside += sum(not limits.takes(reading.metrics) for reading in message.readings)
        return outside
