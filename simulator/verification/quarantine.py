"""Which readings the schemas quarantine, computed from the archive's rows.

A record is judged by the set of schemas that was in force when the stream took it (decision 36).
This is part of the oracle, so it shares no code with the worker: it looks each row up in the
history, where the worker keeps limits of a set.
"""

from __future__ import annotations

from ingest.schemas.schema import History, Schema
from simulator.verification.observe import ArchiveRow, Observed
from simulator.verification.oracle import Rules
from simulator.verification.room import Place, place_of


def quarantined(observed: Observed, rules: Rules) -> set[Place]:
    """Where the rows are that must be archived as ``quarantined``."""
    if not observed.schemas.applied:
        return set()
    return {
        place_of(row)
        for row in observed.rows
        if row.metrics is not None
        and rules.disposition(row.ts or 0, row.metrics, row.received_at or 0) == "ok"
        and _is_outside(row, _schema_of(row, observed))
    }


def _schema_of(row: ArchiveRow, observed: Observed) -> Schema | None:
    """The schema that judges a row."""
    item = observed.devices.get(row.device_id or "", {})
    kind = item.get("type", {}).get("S", "")
    found = _last_before(observed.schemas, row.arrived_at or 0).get(kind)
    return found if found is not None and found.outside == "quarantine" else None


def _last_before(history: History, at: int) -> dict[str, Schema]:
    began = [one for one in history.applied if one.since <= at]
    newest = max(began, key=lambda one: one.since, default=None)
    return {} if newest is None else {schema.type: schema for schema in newest.schemas}


def _is_outside(row: ArchiveRow, schema: Schema | None) -> bool:
    if schema is None:
        return False
    for name, value in (row.metrics or {}).items():
        metric = schema.metrics.get(name)
        if metric is None:
            return True
        if metric.min is not None and value < metric.min:
            return True
        if metric.max is not None and value > metric.max:
            return True
    return False
