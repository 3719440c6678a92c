"""Items of the hot tables as plain values, for ``penstock windows`` and ``penstock devices``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boto3.dynamodb.types import TypeDeserializer


def plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item's attributes: text, ``int`` where a number is whole, ``float``, ``dict``."""
    deserialize = TypeDeserializer().deserialize
    return {name: _number(deserialize(value)) for name, value in item.items()}


def _number(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _number(inner) for name, inner in value.items()}
    if hasattr(value, "as_tuple"):  # a Decimal
        return int(value) if value == int(value) and abs(value) < 2**53 else float(value)
    return value
