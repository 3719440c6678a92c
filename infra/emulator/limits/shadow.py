"""How large and how deep a device shadow may be.

Source: "Device Shadow error messages" and "Diagnosing problems with shadows" of the IoT developer
guide: 8 KB of ``desired`` and ``reported`` together, without metadata; six levels of nesting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

STATE_BYTES: Final = 8 * 1024
LEVELS: Final = 6


def refuse_shadow(stored: Mapping[str, Any], change: Mapping[str, Any]) -> tuple[int, str] | None:
    """Why a shadow's state cannot be changed so, as a status and a message; ``None`` when it can.

    >>> refuse_shadow({}, {"reported": {"text": "x" * 9000}})
    (413, 'The payload exceeds the maximum size allowed')
    """
    if _levels(change) > LEVELS:
        return 400, f"JSON contains too many levels of nesting; maximum is {LEVELS}"
    halves = {half: change[half] for half in ("desired", "reported") if half in change}
    after = _merged(stored, halves)
    if len(json.dumps(after, separators=(",", ":")).encode()) > STATE_BYTES:
        return 413, "The payload exceeds the maximum size allowed"
    return None


def _levels(value: Any) -> int:
    if isinstance(value, Mapping):
        return 1 + max(map(_levels, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_levels, value), default=0)
    return 0


def _merged(stored: Any, change: Any) -> Any:
    if not isinstance(stored, Mapping) or not isinstance(change, Mapping):
        return change
    both = {
        key: _merged(stored[key], change[key]) if key in stored and key in change
        else change.get(key, stored.get(key))
        for key in {**stored, **change}
    }  # fmt: skip
    return {key: value for key, value in both.items() if value is not None}
