"""Queries on the hot tables, over the three calls of DynamoDB that they need.

Each is a function of a client and values; none holds state. Answers are bounded: what does not
fit comes with a cursor for the rest.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from dashboard import items
from ingest.roster import BUCKETS, bucket_of
from ingest.tiers import Tier

MAX_PAGE: Final = 1_500
_CURSOR: Final = re.compile(r"[A-Za-z0-9_=-]{1,600}")


class Client(Protocol):
    """What this module needs of a DynamoDB client."""

    def query(self, **request: Any) -> Any:
        """As ``boto3``'s."""

    def get_item(self, **request: Any) -> Any:
        """As ``boto3``'s."""

    def scan(self, **request: Any) -> Any:
        """As ``boto3``'s."""


class BadRequestError(Exception):
    """The caller asked for something that cannot be; the text says what is wrong with it."""


def roster(client: Client, table: str, pool: Executor) -> list[dict[str, Any]]:
    """Every device, sixteen buckets at a time, ordered by name."""
    found = pool.map(lambda bucket: list(_bucket(client, table, bucket)), range(BUCKETS))
    return sorted((one for part in found for one in part), key=lambda one: str(one["device"]))


def _bucket(client: Client, table: str, bucket: int) -> Iterator[dict[str, Any]]:
    request: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": "#b = :b",
        "ExpressionAttributeNames": {"#b": "bucket"},
        "ExpressionAttributeValues": {":b": {"S": f"{bucket:02d}"}},
    }
    while True:
        answer = client.query(**request)
        yield from map(items.device, answer["Items"])
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def device(client: Client, table: str, name: str) -> dict[str, Any] | None:
    """One device, or ``None``."""
    key = {"bucket": {"S": bucket_of(name)}, "device": {"S": name}}
    item = client.get_item(TableName=table, Key=key).get("Item")
    return None if item is None else items.device(item)


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
) -> tuple[list[dict[str, Any]], str | None]:
    """A device's windows of a tier that begin in ``[start_ms, end_ms]``, oldest first, and a
    cursor when there are more. Expired ones that DynamoDB still has are left out.

    :raises BadRequestError: when the cursor is not one of ours.
    """
    request: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": "device = :d AND #w BETWEEN :a AND :b",
        "ExpressionAttributeNames": {"#w": "window"},
        "ExpressionAttributeValues": {
            ":d": {"S": name},
            ":a": {"S": f"{tier.name}#{iso(start_ms)}"},
            ":b": {"S": f"{tier.name}#{iso(end_ms)}"},
        },
        "Limit": min(limit, MAX_PAGE),
    }
    if cursor is not None:
        request["ExclusiveStartKey"] = {"device": {"S": name}, "window": {"S": _decode(cursor)}}
    answer = client.query(**request)
    found = [items.window(item) for item in answer["Items"] if int(item["expires_at"]["N"]) > now_s]
    last = answer.get("LastEvaluatedKey")
    return found, _encode(last["window"]["S"]) if last else None


def workers(client: Client, table: str) -> list[dict[str, Any]]:
    """What every worker last said of itself. There are few."""
    found = client.scan(TableName=table)["Items"]
    return sorted((items.worker(item) for item in found), key=lambda one: str(one["worker"]))


def iso(ms: int) -> str:
    """A time as it is in a window's key.

    :raises BadRequestError: when the calendar does not know it.
    """
    try:
        return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        raise BadRequestError(f"{ms} is no time in ms since 1970 that a calendar knows") from None


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decode(cursor: str) -> str:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor)) if _CURSOR.fullmatch(cursor) else None
    except (binascii.Error, ValueError):
        key = None
    if not isinstance(key, str):
        raise BadRequestError("cursor: take it from the answer before, unchanged")
    return key
