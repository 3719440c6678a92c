"""Queries on the hot tables, over the three calls of DynamoDB that they need.

Each is a function of a client and values; none holds state. Answers are bounded: what does not
fit comes with a cursor for the rest.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any, Final, Protocol, cast

import orjson

from dashboard.answers import Device, Report, Window
from dashboard.errors import BadRequestError
from ingest.schemas import item as schemas_item
from ingest.schemas.schema import units_of
from ingest.tables import status as worker_report
from ingest.tables.hot import (
    Query,
    device_key,
    is_expired,
    read_device,
    read_window,
    roster_scans,
    windows_query,
)
from ingest.tiers import Tier

MAX_PAGE: Final = 1_500
_CURSOR: Final = re.compile(r"[A-Za-z0-9_=-]{1,600}")


class Client(Protocol):
    """What this module needs of a DynamoDB client."""

    def query(self, **request: Any) -> Any:
        """As ``boto3``'s."""

    def get_item(self, **request: Any) -> Any:
        """As ``boto3``'s."""

    def batch_get_item(self, **request: Any) -> Any:
        """As ``boto3``'s."""

    def update_item(self, **request: Any) -> Any:
        """As ``boto3``'s."""

    def scan(self, **request: Any) -> Any:
        """As ``boto3``'s."""


def roster(client: Client, table: str, pool: Executor) -> list[Device]:
    """Every device, by scans in parallel, ordered by name."""
    found = pool.map(lambda scan: list(_pages(client, scan)), roster_scans(table))
    return sorted((one for part in found for one in part), key=lambda one: str(one["device"]))


def _pages(client: Client, request: Query) -> Iterator[Device]:
    while True:
        answer = client.scan(**request)
        yield from (cast(Device, read_device(item)) for item in answer["Items"])
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def device(client: Client, table: str, name: str) -> Device | None:
    """One device, or ``None``."""
    item = client.get_item(TableName=table, Key=device_key(name)).get("Item")
    return None if item is None else cast(Device, read_device(item))


def windows(
    client: Client,
    table: str,
    name: str,
    tier: Tier,
    *,
    start_ms: int,
    end_ms: int,
    limit: int,
    cursor: str | None = None,
    now_s: float,
) -> tuple[list[Window], str | None]:
    """A device's windows of a tier that begin in ``[start_ms, end_ms]``, oldest first, and a
    cursor when there are more. Expired ones that DynamoDB still has are left out.

    :raises BadRequestError: when the cursor is none that this API gave out, or the calendar does
        not know a time.
    """
    try:
        request = windows_query(table, name, tier.name, start_ms, end_ms)
    except (ValueError, OverflowError, OSError):
        raise BadRequestError(
            f"{start_ms} to {end_ms} are no times in ms since 1970 that a calendar knows"
        ) from None
    request["Limit"] = min(limit, MAX_PAGE)
    if cursor is not None:
        request["ExclusiveStartKey"] = {"device": {"S": name}, "window": {"S": _decode(cursor)}}
    answer = client.query(**request)
    found = [
        cast(Window, read_window(item)) for item in answer["Items"] if not is_expired(item, now_s)
    ]
    last = answer.get("LastEvaluatedKey")
    return found, _encode(last["window"]["S"]) if last else None


def workers(client: Client, table: str) -> tuple[list[Report], dict[str, str]]:
    """Every worker's last report, and the units of metrics by the applied schemas. There are few
    workers."""
    found = client.scan(TableName=table)["Items"]
    units: dict[str, str] = {}
    for item in found:
        if item["worker"]["S"] == schemas_item.KEY:
            units = units_of(schemas_item.history_of(item).newest.schemas)
    reports = [
        cast(Report, worker_report.read(item)) for item in found if worker_report.is_report(item)
    ]
    return sorted(reports, key=lambda one: one["worker"]), units


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(key)).decode()


def _decode(cursor: str) -> str:
    try:
        key = orjson.loads(base64.urlsafe_b64decode(cursor)) if _CURSOR.fullmatch(cursor) else None
    except (binascii.Error, ValueError):
        key = None
    if not isinstance(key, str):
        raise BadRequestError("cursor: take it from the answer before, unchanged")
    return key
