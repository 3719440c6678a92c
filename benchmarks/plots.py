"""The plots of docs/performance.md, drawn from the results."""

from __future__ import annotations

from typing import Any


def draw(results: dict[str, Any]) -> None:
    """Nothing yet."""
