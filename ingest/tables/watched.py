"""Which devices somebody looks at: one small item of ``<stack>-status``.

A viewer (the dashboard, or a program of your own that reads DynamoDB) marks up to 200 devices as
*watched* for a minute at a time. Workers read the item every two seconds and write the finest
windows of watched devices as soon as they change; all others are written at their tier's pace. Up
to eight viewers are heard. The item decides nothing that is counted: a worker that cannot read it
goes on at the tiers' pace.

The item has an attribute a viewer, ``v:<viewer>``, a map of ``until`` (seconds since the epoch) and
``devices`` (a list). To watch from a program of your own::

    dynamodb.update_item(**watch("plant-7-status", "my-wall", ["pump-1", "pump-2"], time.time()))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

Item = Mapping[str, Any]

KEY: Final = "#watched"
"""The item's key: no worker has such a name."""

WATCH_S: Final = 60
"""How long a mark holds (s)."""
READ_S: Final = 2.0
"""How often a worker reads the item (s)."""
MAX_DEVICES: Final = 200
MAX_VIEWERS: Final = 8

_PREFIX: Final = "v:"


def key() -> dict[str, Any]:
    """The item's key, in DynamoDB's low-level form."""
    return {"worker": {"S": KEY}}


def watch(
    table: str, viewer: str, devices: Iterable[str], now_s: float, item: Item | None = None
) -> dict[str, Any]:
    """The arguments of the ``UpdateItem`` by which a viewer marks its devices, the first 200 of
    them.

    ``item`` is the item as it was read before, if it was; the marks of other viewers that are over
    are removed then.
    """
    until = int(now_s) + WATCH_S
    names = {"#mine": _PREFIX + viewer[:60], "#expires": "expires_at"}
    values: dict[str, Any] = {
        ":mine": {
            "M": {
                "until": {"N": str(until)},
                "devices": {"L": [{"S": name} for name in list(devices)[:MAX_DEVICES]]},
            }
        },
        ":expires": {"N": str(until + 86_400)},
    }
    over = [one for one in _viewers(item or {}) if one != names["#mine"]
            and _until(item or {}, one) <= now_s]  # fmt: skip
    names |= {f"#o{number}": one for number, one in enumerate(over)}
    remove = ", ".join(f"#o{number}" for number in range(len(over)))
    return {
        "TableName": table,
        "Key": key(),
        "UpdateExpression": "SET #mine = :mine, #expires = :expires"
        + (f" REMOVE {remove}" if over else ""),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }


def read_watched(item: Item, now_s: float) -> frozenset[str]:
    """The devices that are watched now, of the eight viewers whose marks hold longest. What is not
    of the form above is ignored."""
    marks = [(_until(item, one), one) for one in _viewers(item)]
    held = sorted((mark for mark in marks if mark[0] > now_s), reverse=True)[:MAX_VIEWERS]
    return frozenset(name for _, one in held for name in _devices(item[one]))


def _viewers(item: Item) -> list[str]:
    return [name for name in item if name.startswith(_PREFIX)]


def _until(item: Item, viewer: str) -> int:
    try:
        return int(item[viewer]["M"]["until"]["N"])
    except (KeyError, TypeError, ValueError):
        return 0


def _devices(mark: Any) -> list[str]:
    try:
        found = [one["S"] for one in mark["M"]["devices"]["L"][:MAX_DEVICES]]
    except (KeyError, TypeError):
        return []
    return [name for name in found if isinstance(name, str)]
