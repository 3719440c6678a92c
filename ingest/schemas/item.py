"""The schemas of a deployment in DynamoDB: one item of ``<stack>-status``, compressed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ingest.schemas.schema import History

KEY: Final = "#schemas"
"""The item's key: no worker has such a name."""

MOST_BYTES: Final = 300_000
"""Of a history, compressed; DynamoDB takes items of 400 KB."""


def key() -> dict[str, Any]:
    """The item's key, in DynamoDB's low-level form."""
    return {"worker": {"S": KEY}}


def read_request(table: str) -> dict[str, Any]:
    """The arguments of the ``GetItem`` that reads the schemas."""
    return {"TableName": table, "Key": key(), "ConsistentRead": True}


def history_of(item: Mapping[str, Any]) -> History:
    """The history in an item; an empty one when there is no item."""
    if "history" not in item:
        return History()
    return msgspec.json.decode(zlib.decompress(item["history"]["B"]), type=History)


def write_request(table: str, history: History, before: int) -> dict[str, Any]:
    """The arguments of the ``UpdateItem`` that replaces a history of version ``before``, 0 for
    none; it fails when another one is stored by then.

    :raises ValueError: when it is larger than an item can be.
    """
    packed = zlib.compress(msgspec.json.encode(history), 9)
    if len(packed) > MOST_BYTES:
        raise ValueError(
            f"the schemas and their history take {len(packed)} bytes, {MOST_BYTES} fit: shorten "
            "descriptions, or describe fewer types"
        )
    condition = "ver = :before" if before else "attribute_not_exists(ver)"
    return {
        "TableName": table,
        "Key": key(),
        "UpdateExpression": "SET ver = :ver, history = :history",
        "ConditionExpression": condition,
        "ExpressionAttributeValues": {
            ":ver": {"N": str(history.ver)},
            ":history": {"B": packed},
            **({":before": {"N": str(before)}} if before else {}),
        },
    }
