"""What a worker reports of itself: one item of ``<stack>-status``, written every few seconds.

The worker writes it (:mod:`consumers.worker.status_table`); the dashboard and ``penstock status``
read it. It may be late or missing. Nothing that decides what is counted reads it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

Item = Mapping[str, Any]

LIFE_S: Final = 3600
"""How long after a worker's last report its item may be deleted."""

REPORT_BYTES: Final = 3_900
"""Of a report at most: an item of 4 KB costs four write units, every few seconds."""
_REJECTS: Final = 5
_REJECTED_DEVICES: Final = 16
_PREVIEW: Final = 80
_NOT_WRITTEN: Final = ("log",)
_NOT_OF_SHARDS: Final = (
    "committed_key", "pid", "memory_mb", "busy_ms", "pending_readings", "pending_windows",
    "open_windows",
)  # fmt: skip


def write(worker: str, report: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """The item (DynamoDB's low-level form) that holds a report.

    A report of many shards is compressed. One that does not fit even so keeps the shards that are
    furthest behind, and says in ``shards_left_out`` how many are not in it.
    """
    return {
        "worker": {"S": worker},
        "updated_at": {"N": str(now_ms)},
        "expires_at": {"N": str(now_ms // 1000 + LIFE_S)},
        "report": _fitted(_shortened(report)),
    }


def _shortened(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report without what only the worker itself shows."""
    short = {name: value for name, value in report.items() if name not in _NOT_WRITTEN}
    if "rejects" in short:
        short["rejects"] = [
            {**one, "preview": one["preview"][:_PREVIEW]} for one in short["rejects"][:_REJECTS]
        ]
    if "rejected_devices" in short:  # the newest come first
        newest = list(short["rejected_devices"].items())[:_REJECTED_DEVICES]
        short["rejected_devices"] = dict(newest)
    if "shards" in short:
        short["shards"] = [
            {name: value for name, value in one.items() if name not in _NOT_OF_SHARDS}
            for one in short["shards"]
        ]
    return short


def _fitted(report: dict[str, Any]) -> dict[str, Any]:
    """The attribute that holds the report, in :data:`REPORT_BYTES`."""
    shards = sorted(report.get("shards", ()), key=lambda one: -(one.get("lag_ms") or 0))
    text = orjson.dumps(report)
    if len(text) <= REPORT_BYTES:
        return {"S": text.decode()}
    kept = len(shards)
    while len(packed := zlib.compress(text, 9)) > REPORT_BYTES and kept:
        kept = kept * 3 // 4
        some = sorted(shards[:kept], key=lambda one: str(one["shard"]))
        left = len(shards) - kept
        text = orjson.dumps({**report, "shards": some, "shards_left_out": left})
    return {"B": packed}


def is_report(item: Item) -> bool:
    """Whether an item of the table is a worker's, or the one of :mod:`ingest.tables.watched`."""
    return "report" in item


def reports(items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    """The workers' reports among the table's items, as :func:`read` gives them."""
    return (read(item) for item in items if is_report(item))


def read(item: Item) -> dict[str, Any]:
    """The report in an item, with ``worker`` and ``updated_at`` (ms).

    :raises ValueError: when the report is not a JSON object.
    """
    try:
        held = item["report"]
        text = held["S"] if "S" in held else zlib.decompress(held["B"])
        report = orjson.loads(text)
    except (orjson.JSONDecodeError, zlib.error) as error:
        raise ValueError(f"not a report of a worker: {error}") from None
    if not isinstance(report, dict):
        raise ValueError("not a report of a worker: it is no JSON object")
    return {"worker": item["worker"]["S"], "updated_at": int(item["updated_at"]["N"]), **report}
