"""Schemas: the metrics that devices of a type send, each with unit, range and description. Pure.

What is applied to a deployment is a :class:`History`: sets of schemas, each from a time on. A
record is judged by the set that was in force when the stream took it, so each worker and each
repetition after a crash judges it the same (decision 36).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct, field

Outside = Literal["warn", "quarantine"]
"""What becomes of a reading with a metric that its schema does not have, or outside of its range:
it is folded and counted, or only archived, as ``quarantined``."""

QUARANTINE: Final = "quarantine"

LEAD_MS: Final = 20_000
"""How long after it is applied a set of schemas comes into force: by then each worker has it."""

MOST_TYPES: Final = 100


class Metric(Struct, frozen=True):
    """One metric. ``min`` and ``max`` belong to the range; ``None`` is no limit."""

    unit: str = ""
    min: float | None = None
    max: float | None = None
    description: str = ""

    def takes(self, value: float) -> bool:
        """Whether a value is in the range.

        >>> Metric(min=0, max=16).takes(16.1)
        False
        """
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class Schema(Struct, frozen=True):
    """The metrics of a type of device. ``version`` grows with each change of the rest."""

    type: str
    version: int
    metrics: dict[str, Metric]
    outside: Outside = "warn"
    description: str = ""


class Applied(Struct, frozen=True):
    """All schemas that are in force from ``since`` (ms since 1970) until the next set."""

    since: int
    schemas: list[Schema] = field(default_factory=list)


class History(Struct, frozen=True):
    """Every set that may still judge a record, the oldest first. ``ver`` grows with each change."""

    ver: int = 0
    applied: list[Applied] = field(default_factory=list)

    def at(self, ms: int) -> Applied | None:
        """The set in force at a time; ``None`` before the first.

        >>> History(2, [Applied(10), Applied(20)]).at(19).since
        10
        """
        place = bisect_right([one.since for one in self.applied], ms)
        return self.applied[place - 1] if place else None

    @property
    def newest(self) -> Applied:
        """The set that was applied last, perhaps not in force yet; an empty one without any."""
        return self.applied[-1] if self.applied else Applied(0)


def units_of(schemas: Iterable[Schema]) -> dict[str, str]:
    """Metric to unit, over all types; of several units the one of the first type by name."""
    found: dict[str, str] = {}
    for schema in sorted(schemas, key=lambda one: one.type):
        for name, metric in schema.metrics.items():
            if metric.unit:
                found.setdefault(name, metric.unit)
    return found


def view_name(kind: str) -> str:
    """The name of the SQL view with the readings of a type of device.

    >>> view_name("Hall-3/pump")
    'readings_hall_3_pump'
    """
    return "readings_" + re.sub(r"[^a-z0-9]+", "_", kind.lower()).strip("_")


def column_names(metrics: Mapping[str, Metric], taken: Iterable[str]) -> dict[str, str]:
    """Metric to its column in such a view; one that is called like a column that each view has
    (``taken``) gets ``_value`` appended.

    >>> column_names({"seq": Metric(), "power": Metric()}, ["seq"])
    {'seq': 'seq_value', 'power': 'power'}
    """
    reserved = set(taken)
    found: dict[str, str] = {}
    for name in metrics:
        column = name
        while column in reserved or (column != name and column in metrics):
            column += "_value"
        reserved.add(column)
        found[name] = column
    return found
