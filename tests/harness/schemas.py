"""A deployment's schemas in memory, as DynamoDB would give them to workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.schemas import next_history
from ingest.schemas.item import write_request
from ingest.schemas.schema import History, Metric, Outside, Schema


def schema(
    version: int, low: float, high: float, *, outside: Outside = "quarantine", kind: str = "pump"
) -> Schema:
    """A schema with one metric, ``a``, in a range."""
    return Schema(kind, version, {"a": Metric("bar", low, high)}, outside)


class StatusTable:
    """The item with the schemas. ``reads`` counts; ``fail`` is raised by the next reads."""

    def __init__(self) -> None:
        self.history = History()
        self.reads = 0
        self.fail: list[Exception] = []

    def apply(self, schemas: Sequence[Schema], now_ms: int) -> None:
        self.history, _ = next_history(self.history, schemas, now_ms)

    def get_item(self, **_: Any) -> dict[str, Any]:
        self.reads += 1
        if self.fail:
            raise self.fail.pop()
        if not self.history.ver:
            return {}
        values = write_request("status", self.history, 0)["ExpressionAttributeValues"]
        return {"Item": {"ver": values[":ver"], "history": values[":history"]}}
