"""How a device reports: its settings, their bounds, and what a change of them is answered with.

Pure functions; :mod:`devices.mqtt.shadow` exchanges the documents.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ingest.message import MAX_READINGS

VALUE_CHARACTERS: Final = 100
"""How much of a rejected value is reported."""


class Reporting(NamedTuple):
    """How a device reports.

    ``interval_s``: minimum seconds between two readings, 0 for no minimum. ``batch``: maximum
    readings a message. ``age_s``: maximum seconds that a reading waits for its message to fill.
    """

    interval_s: float = 0.0
    batch: int = 20
    age_s: float = 1.0


BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "interval_s": (0, 86_400),
    "batch": (1, MAX_READINGS),
    "age_s": (0.01, 3600),
}
"""Minimum and maximum of each setting, both included."""


class Rejected(NamedTuple):
    """A desired value that was not applied; ``value`` is its JSON, cut to 100 characters."""

    setting: str
    value: str
    reason: str


def fault(setting: str, value: Any) -> str | None:
    """Why a desired value cannot be applied; ``None`` when it can."""
    if setting not in BOUNDS:
        return f"there is no such setting; there are {', '.join(BOUNDS)}"
    least, most = BOUNDS[setting]
    whole = setting == "batch"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return f"must be {'an integer' if whole else 'a number'}"
    if not least <= value <= most:
        return f"must be {least:g} to {most:g}"
    return None


def apply(
    current: Reporting, desired: Mapping[str, Any]
) -> tuple[Reporting, Mapping[str, Rejected]]:
    """The settings after ``desired`` is applied to ``current``, and the rejected values by
    setting."""
    applied: dict[str, Any] = {}
    rejected: dict[str, Rejected] = {}
    for setting, value in desired.items():
        if (reason := fault(setting, value)) is None:
            applied[setting] = value
        else:
            text = json.dumps(value)[:VALUE_CHARACTERS]
            rejected[setting] = Rejected(setting, text, reason)
    return current._replace(**applied), rejected


def report(reporting: Reporting, rejected: Mapping[str, Rejected]) -> dict[str, Any]:
    """The shadow's ``reported`` state. ``rejected`` is a list, because a shadow replaces a list
    as a whole and merges objects."""
    return {**reporting._asdict(), "rejected": [one._asdict() for one in rejected.values()]}
