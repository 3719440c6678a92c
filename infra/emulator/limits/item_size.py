"""How many bytes and units an item of DynamoDB is.

Sources: DynamoDB developer guide, "DynamoDB item sizes and formats" (the sizes by type) and
"DynamoDB read and write operations" (the units). The guide calls the size of a number
approximate: one byte for two significant digits plus one; a negative number has one more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

WRITE_UNIT: Final = 1024
READ_UNIT: Final = 4096
_CONTAINER: Final = 3  # bytes of every list and map, whatever it holds
_ELEMENT: Final = 1  # bytes of every element of a list or map


def item_bytes(item: Mapping[str, Any]) -> int:
    """The size that the limit and the units count: names and values, in UTF-8.

    >>> item_bytes({"device": {"S": "abc"}, "n": {"N": "120"}})
    13
    """
    return sum(_text(name) + value_bytes(value) for name, value in item.items())


def value_bytes(value: Mapping[str, Any]) -> int:
    """The size of one attribute value, ``{"S": …}`` and its like."""
    for kind, content in value.items():
        if kind == "S":
            return _text(content)
        if kind == "N":
            return number_bytes(content)
        if kind == "M":
            return _CONTAINER + sum(
                _ELEMENT + _text(name) + value_bytes(one) for name, one in content.items()
            )
        if kind == "L":
            return _CONTAINER + sum(_ELEMENT + value_bytes(one) for one in content)
        if kind == "B":
            return _binary(content)
        if kind == "SS":
            return sum(map(_text, content))
        if kind == "NS":
            return sum(map(number_bytes, content))
        if kind == "BS":
            return sum(map(_binary, content))
    return 1  # BOOL and NULL


@lru_cache(maxsize=1 << 16)
def number_bytes(number: str) -> int:
    """The size of a number: pairs of digits on either side of the point, without zeros at the
    ends, plus one, plus one when it is negative."""
    mantissa, _, exponent = number.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("+-").partition(".")
    digits = whole + fraction
    shift = int(exponent or 0) - len(fraction)
    significant = digits.strip("0")
    if not significant:
        return 1
    shift += len(digits) - len(digits.rstrip("0"))
    length = len(significant) + shift % 2
    return 1 + (length + 1) // 2 + number.startswith("-")


def write_units(before: int, after: int) -> int:
    """Units of a write that leaves an item of ``after`` bytes where one of ``before`` was: of
    the larger one, at least 1."""
    return max(1, -(-max(before, after) // WRITE_UNIT))


def read_units(size: int, *, consistent: bool) -> float:
    """Units of reading ``size`` bytes: 4 KiB each, half when eventually consistent."""
    return max(1, -(-size // READ_UNIT)) * (1.0 if consistent else 0.5)


def _text(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _binary(content: str | bytes) -> int:
    """The size before base64."""
    if isinstance(content, bytes):
        return len(content)
    return len(content) // 4 * 3 - content[-2:].count("=")
