"""The hot tables (DynamoDB) as their readers see them: keys, queries and items. Pure.

The worker writes the items (:mod:`consumers.hot`); this module is what everybody else knows of
them. Items are in DynamoDB's low-level form, ``{"N": "1"}``; times are ms since the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

Item = Mapping[str, Any]
Query = dict[str, Any]
"""Arguments of a DynamoDB ``Query`` or ``Scan``."""

SEGMENTS: Final = 8
"""A roster is read by so many scans at once."""


def device_key(device_id: str) -> dict[str, Any]:
    """The key of a device's item in ``<stack>-devices``."""
    return {"device": {"S": device_id}}


def roster_scans(table: str) -> list[Query]:
    """Arguments of the ``Scan`` calls that together read every device of ``<stack>-devices``."""
    return [
        {"TableName": table, "TotalSegments": SEGMENTS, "Segment": segment}
        for segment in range(SEGMENTS)
    ]


def window_name(tier: str, start_ms: int) -> str:
    """The range key of a window, ``1m#2026-11-23T07:45:00Z``. Names of one tier sort by time.

    :raises ValueError, OverflowError, OSError: for a time that the calendar does not know.
    """
    return f"{tier}#{datetime.fromtimestamp(start_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def window_key(device_id: str, tier: str, start_ms: int) -> dict[str, Any]:
    """The key of a window's item in ``<stack>-windows``."""
    return {"device": {"S": device_id}, "window": {"S": window_name(tier, start_ms)}}


def windows_query(table: str, device_id: str, tier: str, start_ms: int, end_ms: int) -> Query:
    """The windows of a device and tier that begin in ``[start_ms, end_ms]``, oldest first.

    :raises ValueError, OverflowError, OSError: as :func:`window_name`.
    """
    return {
        "TableName": table,
        "KeyConditionExpression": "device = :d AND #w BETWEEN :a AND :b",
        "ExpressionAttributeNames": {"#w": "window"},
        "ExpressionAttributeValues": {
            ":d": {"S": device_id},
            ":a": {"S": window_name(tier, start_ms)},
            ":b": {"S": window_name(tier, end_ms)},
        },
    }


def newest_windows_query(table: str, device_id: str, tier: str, limit: int) -> Query:
    """The newest ``limit`` windows of a device and tier, newest first."""
    return {
        "TableName": table,
        "KeyConditionExpression": "device = :d AND begins_with(#w, :t)",
        "ExpressionAttributeNames": {"#w": "window"},
        "ExpressionAttributeValues": {":d": {"S": device_id}, ":t": {"S": f"{tier}#"}},
        "ScanIndexForward": False,
        "Limit": limit,
    }


def is_expired(item: Item, now_s: float) -> bool:
    """Whether a window's time to live is over. DynamoDB deletes such items within days."""
    return int(item["expires_at"]["N"]) <= now_s


def number(field: Mapping[str, str] | None) -> int | float | None:
    """A number attribute: an ``int`` where it is whole, ``None`` where there is none."""
    if not field or "N" not in field:
        return None
    text = field["N"]
    return int(text) if text.lstrip("-").isdigit() else float(text)


def read_device(item: Item) -> dict[str, Any]:
    """A roster item as plain values. A device that never sent has no metrics and no times."""
    metrics = item.get("metrics", {}).get("M", {})
    return {
        "device": item["device"]["S"],
        "group": item.get("group", {}).get("S", ""),
        "type": item.get("type", {}).get("S", ""),
        "last_seen": number(item.get("last_seen")),
        "last_ts": number(item.get("last_ts")),
        "boot": item.get("boot", {}).get("S"),
        "seq": number(item.get("seq")),
        "metrics": {
            name: {"v": number(value["M"]["v"]), "ts": number(value["M"]["ts"])}
            for name, value in sorted(metrics.items())
        },
    }


def read_window(item: Item) -> dict[str, Any]:
    """A window item as plain values, with the standard deviation computed. ``ids`` is boot to
    ranges, see :mod:`ingest.id_ranges`."""
    tier, start = item["window"]["S"].split("#", 1)
    return {
        "tier": tier,
        "start": start,
        "n": number(item["n"]),
        "first_ts": number(item["first_ts"]),
        "last_ts": number(item["last_ts"]),
        "ids": {boot: text["S"] for boot, text in item["ids"]["M"].items()},
        "metrics": {
            name: _metric(value["M"]) for name, value in sorted(item["metrics"]["M"].items())
        },
    }


def _metric(fields: Item) -> dict[str, Any]:
    shown = {
        name: number(fields.get(name)) for name in ("n", "mean", "min", "max", "first", "last")
    }
    n, m2 = shown["n"] or 1, number(fields.get("m2")) or 0.0
    return {**shown, "stddev": math.sqrt(max(0.0, m2) / n)}
