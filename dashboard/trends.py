"""The fleet's figures over the last hour, as this process read them. Pure.

Nothing is read for them: each point is made of the snapshot that viewers are shown anyway. A
process that begins anew begins anew here too.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dashboard.answers import Figures, Summary

STEP_MS: Final = 10_000
"""The least time between two points."""

KEPT: Final = 360


class Trends:
    """One point each :data:`STEP_MS` at most, the last :data:`KEPT` of them."""

    def __init__(self) -> None:
        self._points: deque[Figures] = deque(maxlen=KEPT)

    def is_due(self, at_ms: int) -> bool:
        """Whether a snapshot of ``at_ms`` would be kept."""
        return not self._points or at_ms - self._points[-1]["at"] >= STEP_MS

    def add(self, summary: Summary) -> None:
        """Keep what a summary of everything says, when it is due."""
        if not self.is_due(summary["at"]):
            return
        devices, latency = summary["devices"], summary["latency_ms"]
        self._points.append(
            {
                "at": summary["at"],
                "online": devices["online"],
                "late": devices["late"],
                "silent": devices["silent"],
                "messages_per_s": summary["messages_per_s"],
                "readings_per_s": summary["readings_per_s"],
                "p50_ms": latency["p50"],
                "p99_ms": latency["p99"],
                "rejected": sum(summary["rejected"].values()),
            }
        )

    def since(self, at_ms: int) -> list[Figures]:
        """The points of ``at_ms`` and later, oldest first."""
        return [one for one in self._points if one["at"] >= at_ms]
