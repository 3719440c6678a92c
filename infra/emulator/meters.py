"""Counts of what AWS would bill or report: units, requests, bytes."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Meters:
    """Counters by path, such as ``("dynamodb", "tables", "x-windows", "write_units")``."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()

    def add(self, *path: str, by: float = 1) -> None:
        """Count. A path is either a counter or a group of counters, never both."""
        self._counts[path] += by  # type: ignore[assignment]

    def snapshot(self) -> dict[str, Any]:
        """All counters as nested objects."""
        document: dict[str, Any] = {}
        for path, value in sorted(self._counts.items()):
            group = document
            for name in path[:-1]:
                group = group.setdefault(name, {})
            group[path[-1]] = value
        return document
