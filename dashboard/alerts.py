"""Alerts as the API answers them: from ``<stack>-alerts``, by queries of a bounded size."""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, cast

import orjson

from dashboard.answers import Alert, AlertKind, AlertTransition
from dashboard.errors import BadRequestError
from dashboard.queries import Client
from ingest.tables.alarms import (
    Act,
    DeviceAlarms,
    Entry,
    RuleState,
    alarms_query,
    changed_at,
    read_alarms,
)

MAX_PAGE: Final = 100
"""Devices that one page reads at most, of those with an open alert and of the others."""

Item = Mapping[str, Any]
Position = str | list[Any]
"""Where to go on in one half of the index: at its start, its end, or after a device."""

START: Final = "start"
END: Final = "end"

Half = Callable[[str, Position, int], tuple[list[Item], Position]]
"""Reads up to so many items of one half of the index (``"1"`` open, ``"0"`` not) from a position
on; also returns the position after them."""


@dataclass(frozen=True)
class Wanted:
    """Transitions that are asked for; times (ms) are of windows, both ends included."""

    device: str = ""
    rule: str = ""
    severity: str = ""
    start_ms: int = 0
    end_ms: int = 2**53

    def matches(self, one: AlertTransition) -> bool:
        """Whether a transition is asked for."""
        return (
            (not self.rule or one["rule"] == self.rule)
            and (not self.severity or one["severity"] == self.severity)
            and self.start_ms <= one["window"] <= self.end_ms
        )


def open_page(
    client: Client, table: str, limit: int, cursor: str | None, half: Half | None = None
) -> tuple[list[Alert], str | None]:
    """The open alerts of up to ``limit`` devices, those that changed last first, and a cursor when
    there are more.

    :param half: what reads the index; by default all of it is seen.
    :raises BadRequestError: when the cursor is none that this API gave out.
    """
    (position,) = _decode(cursor, 1)
    items, left = (half or partial(_half, client, table))("1", position, limit)
    found = [one for item in items for one in alerts_of(item) if one["open"]]
    return found, _encode([left]) if left != END else None


def history_page(
    client: Client,
    table: str,
    wanted: Wanted,
    limit: int,
    cursor: str | None,
    half: Half | None = None,
) -> tuple[list[AlertTransition], str | None]:
    """The transitions of up to ``limit`` devices, those that changed last first, and a cursor when
    there are more. Of one device: all that are remembered.

    :param half: as of :func:`open_page`.
    :raises BadRequestError: when the cursor is none that this API gave out.
    """
    if wanted.device:
        item = device_item(client, table, wanted.device)
        return _transitions([item] if item else [], wanted), None
    positions = _decode(cursor, 2)
    read = half or partial(_half, client, table)
    halves = [
        read(is_open, position, limit) for is_open, position in zip("10", positions, strict=True)
    ]
    merged = heapq.merge(
        *([(side, item) for item in items] for side, (items, _) in enumerate(halves)),
        key=lambda one: -changed_at(one[1]),
    )
    taken = list(islice(merged, limit))
    left: list[Position] = []
    for side, (items, after) in enumerate(halves):
        mine = [item for from_side, item in taken if from_side == side]
        if len(mine) == len(items):
            left.append(after)
        else:
            left.append(place(mine[-1]) if mine else positions[side])
    found = _transitions([item for _, item in taken], wanted)
    return found, None if left == [END, END] else _encode(left)


def device_item(client: Client, table: str, device: str) -> Item | None:
    """A device's item, or ``None`` when it never had an alert."""
    item: Item | None = client.get_item(TableName=table, Key={"device": {"S": device}}).get("Item")
    return item


def alerts_of(item: Item) -> list[Alert]:
    """A device's alerts, from its item."""
    alarms, changed = read_alarms(item), changed_at(item)
    return [_alert(alarms, rule, state, changed) for rule, state in sorted(alarms.states.items())]


def changed_since(client: Client, table: str, since_ms: int) -> dict[str, Sequence[Alert]]:
    """The alerts of the devices in which one changed since then; of the last 100 in each half."""
    found: dict[str, Sequence[Alert]] = {}
    for is_open in (False, True):
        query = alarms_query(table, is_open=is_open, since_ms=since_ms)
        for item in client.query(**query, Limit=MAX_PAGE)["Items"]:
            found[item["device"]["S"]] = alerts_of(item)
    return found


def news(
    known: Mapping[str, Sequence[Alert]], newest: Mapping[str, Sequence[Alert]]
) -> list[Alert]:
    """The alerts of devices in which one is not as it was. Pure."""
    if known is newest:
        return []
    return [one for device, rows in newest.items() if known.get(device) != rows for one in rows]


def _alert(alarms: DeviceAlarms, rule: str, state: RuleState, changed: int) -> Alert:
    newest = state.newest
    return {
        "device": alarms.device, "rule": rule, "severity": state.severity, "text": state.text,
        "open": state.is_raised, "since": newest.window if newest else None,
        "acknowledged": state.acknowledged, "muted_until": state.muted_until or None,
        "changed": changed,
    }  # fmt: skip


def _transitions(items: Sequence[Item], wanted: Wanted) -> list[AlertTransition]:
    return [one for item in items for one in _log(read_alarms(item)) if wanted.matches(one)]


def _log(alarms: DeviceAlarms) -> Iterator[AlertTransition]:
    """A device's remembered transitions and what people did, newest first."""
    found = [
        made
        for rule, state in alarms.states.items()
        for made in (
            *(_transition(alarms.device, rule, state, one) for one in state.log),
            *(_act(alarms.device, rule, state, one) for one in state.acts),
        )
    ]
    yield from sorted(found, key=lambda one: -one["window"])


def _transition(device: str, rule: str, state: RuleState, entry: Entry) -> AlertTransition:
    return {
        "device": device, "rule": rule, "severity": state.severity,
        "kind": cast(AlertKind, entry.kind), "window": entry.window, "stands": entry.stands,
        "by": "", "until": None,
    }  # fmt: skip


def _act(device: str, rule: str, state: RuleState, act: Act) -> AlertTransition:
    return {
        "device": device, "rule": rule, "severity": state.severity,
        "kind": cast(AlertKind, act.kind), "window": act.at, "stands": True,
        "by": act.by, "until": act.until or None,
    }  # fmt: skip


def _half(
    client: Client, table: str, is_open: str, position: Position, limit: int
) -> tuple[list[Item], Position]:
    """Items of one half of the index from a position on, and the position after them."""
    if position == END:
        return [], END
    query = alarms_query(table, is_open=is_open == "1")
    if isinstance(position, list):
        changed, device = position
        query["ExclusiveStartKey"] = {
            "is_open": {"S": is_open}, "changed": {"N": str(changed)}, "device": {"S": device},
        }  # fmt: skip
    answer = client.query(**query, Limit=limit)
    items: list[Item] = answer["Items"]
    if "LastEvaluatedKey" not in answer:
        return items, END
    return items, place(answer["LastEvaluatedKey"])


def place(item: Item) -> Position:
    """The position after an item."""
    return [changed_at(item), item["device"]["S"]]


def _encode(positions: Sequence[Position]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(positions)).decode()


def _decode(cursor: str | None, count: int) -> list[Position]:
    """As many positions as there are halves to read."""
    if cursor is None:
        return [START] * count
    try:
        found = orjson.loads(base64.urlsafe_b64decode(cursor[:600]))
    except (binascii.Error, ValueError):
        found = None
    if not isinstance(found, list) or len(found) != count or not all(map(_is_position, found)):
        raise BadRequestError("cursor: take it from the answer before, unchanged")
    return found


def _is_position(value: Any) -> bool:
    match value:
        case "start" | "end":
            return True
        case [int(), str()]:
            return 0 <= value[0] < 2**53 and 0 < len(value[1]) <= 200
    return False
