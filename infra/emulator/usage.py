"""Read what the embedded AWS has counted."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

METERS_PATH: Final = "/_penstock/meters"
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True)
class TableUsage:
    """One table's units; ``kinds`` has the write units of each kind of item."""

    write_units: float
    read_units: float
    writes: float
    throttled: float
    kinds: Mapping[str, float]


@dataclass(frozen=True)
class Usage:
    """What was used since the embedded AWS started, or between two readings.

    ``kinesis``, ``iot`` and ``s3`` are counters by name; ``requests`` is by service and operation.

    >>> before = read_usage(endpoint_url)
    >>> ...
    >>> read_usage(endpoint_url).since(before).write_units
    118.0
    """

    profile: str
    counts: Mapping[str, Any]

    @property
    def tables(self) -> dict[str, TableUsage]:
        """By the table's name."""
        return {
            name: TableUsage(
                write_units=table.get("write_units", 0),
                read_units=table.get("read_units", 0),
                writes=table.get("writes", 0),
                throttled=table.get("throttled", 0),
                kinds={
                    kind: one.get("write_units", 0) for kind, one in table.get("kinds", {}).items()
                },
            )
            for name, table in self.counts.get("dynamodb", {}).get("tables", {}).items()
        }

    @property
    def write_units(self) -> float:
        """Of all tables."""
        return sum(table.write_units for table in self.tables.values())

    @property
    def read_units(self) -> float:
        """Of all tables."""
        return sum(table.read_units for table in self.tables.values())

    @property
    def records(self) -> float:
        """Records put into Kinesis: one a message."""
        return float(self.counts.get("kinesis", {}).get("records", 0))

    def since(self, earlier: Usage) -> Usage:
        """What was used after ``earlier`` was read."""
        return Usage(self.profile, _difference(self.counts, earlier.counts))

    def as_document(self) -> dict[str, Any]:
        """For JSON, as ``aws`` in what ``penstock demo --json`` prints."""
        tables = self.tables
        return {
            "profile": self.profile,
            "dynamodb": {
                "write_units": self.write_units,
                "read_units": self.read_units,
                "throttled": sum(table.throttled for table in tables.values()),
                "write_units_a_message": (
                    round(self.write_units / self.records, 3) if self.records else None
                ),
                "tables": {
                    name: {
                        "write_units": table.write_units,
                        "read_units": table.read_units,
                        "write_units_by_kind": dict(table.kinds),
                    }
                    for name, table in tables.items()
                },
            },
            **{name: dict(self.counts.get(name, {})) for name in ("kinesis", "iot", "s3")},
            "requests": {
                service: sum(operations.values())
                for service, operations in self.counts.get("requests", {}).items()
            },
        }


def read_usage(endpoint_url: str) -> Usage:
    """What the embedded AWS at ``endpoint_url`` has counted since it started.

    :raises OSError: when it does not answer.
    """
    with urllib.request.urlopen(f"{endpoint_url}{METERS_PATH}", timeout=_TIMEOUT_S) as answer:  # noqa: S310
        counts: dict[str, Any] = json.load(answer)
    return Usage(counts.pop("profile"), counts)


def _difference(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _difference(value, earlier.get(name, {}))
        if isinstance(value, Mapping)
        else value - earlier.get(name, 0)
        for name, value in later.items()
    }
