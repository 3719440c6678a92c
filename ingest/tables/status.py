"""What a worker reports of itself: one item of ``<stack>-status``, written every few seconds.

The worker writes it (:mod:`consumers.worker.status_table`); the dashboard and ``penstock status``
read it. It may be late or missing. Nothing that decides what is counted reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

Item = Mapping[str, Any]

LIFE_S: Final = 3600
"""How long after a worker's last report its item may be deleted."""


def write(worker: str, report: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """The item (DynamoDB's low-level form) that holds a report."""
    return {
        "worker": {"S": worker},
        "updated_at": {"N": str(now_ms)},
        "expires_at": {"N": str(now_ms // 1000 + LIFE_S)},
        "report": {"S": orjson.dumps(report).decode()},
    }


def read(item: Item) -> dict[str, Any]:
    """The report in an item, with ``worker`` and ``updated_at`` (ms).

    :raises ValueError: when the report is not a JSON object.
    """
    try:
        report = orjson.loads(item["report"]["S"])
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not a report of a worker: {error}") from None
    if not isinstance(report, dict):
        raise ValueError("not a report of a worker: it is no JSON object")
    return {"worker": item["worker"]["S"], "updated_at": int(item["updated_at"]["N"]), **report}
