"""DynamoDB items to plain values, as the API shows them. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

Item = Mapping[str, Any]


def number(field: Mapping[str, str] | None) -> int | float | None:
    """A number attribute; an integer where it is one."""
    if not field or "N" not in field:
        return None
    text = field["N"]
    return int(text) if text.lstrip("-").isdigit() else float(text)


def device(item: Item) -> dict[str, Any]:
    """A roster entry. One that never sent has no metrics and no times."""
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


def window(item: Item) -> dict[str, Any]:
    """A window, with the standard deviation worked out."""
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


def worker(item: Item) -> dict[str, Any]:
    """What a worker said of itself.

    :raises ValueError: when its report is not JSON.
    """
    return {
        "worker": item["worker"]["S"],
        "updated_at": number(item["updated_at"]),
        **json.loads(item["report"]["S"]),
    }
