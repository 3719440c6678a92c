"""What the fleet's duty reads: the roster, the newest windows, the open alarms, the time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from consumers.alerts.rules import RuleSet
from consumers.alerts.store import WindowHistory, read_rules, until_it_answers
from consumers.alerts.transition import RuleState
from consumers.hot.windows import Window
from ingest.tables.alarms import OPEN_INDEX
from ingest.tables.hot import newest_windows_query
from ingest.tables.status import reports
from ingest.tiers import Tier

log: Final = logging.getLogger(__name__)

PAGE: Final = 1000
"""Devices that a call of a scan reads: of 220 bytes each, 28 read units."""

_NAMES: Final = {"#g": "group", "#t": "type"}
_FIELDS: Final = "device, #g, #t, last_seen, last_ts"


class Member(NamedTuple):
    """A device of the roster. ``seen`` is when its newest message was received, ``ts`` the event
    time of its newest reading (ms), as far as the roster knows; 0 before its first."""

    device: str
    group: str = ""
    type: str = ""
    seen: int = 0
    ts: int = 0


class Page(NamedTuple):
    """Devices that were read, when (ms, the time of the store), and where a scan goes on: ``None``
    at its end."""

    members: list[Member]
    at: int
    more: Any = None


class Tables(Protocol):
    """What is read of DynamoDB; from several threads, but for the rules."""

    def rules(self) -> RuleSet:
        """The rules that are applied now."""

    def scan(self, more: Any = None) -> Page:
        """A page of the roster."""

    def members(self, devices: Sequence[str]) -> Page:
        """Up to 100 devices of the roster; of those that it has."""

    def newest_ts(self, device: str) -> int:
        """The newest event time (ms) of the device's newest window of the finest tier; 0 without
        one."""

    def open_alarms(self) -> dict[str, dict[str, RuleState]]:
        """The states of every device that has an open alarm."""

    def windows(self, device: str, tier: Tier, start_ms: int, end_ms: int) -> list[Window]:
        """The windows that begin in ``[start_ms, end_ms]``."""

    def reports(self) -> list[dict[str, Any]]:
        """What the workers report of themselves."""


class DynamoTables:
    """:class:`Tables` on a ``boto3`` client. The time is that of its answers: a worker whose clock
    is wrong decides as the others."""

    def __init__(
        self, client: Any, *, alerts: str, devices: str, windows: str, status: str, finest: Tier
    ) -> None:
        self._client = client
        self._alerts = alerts
        self._devices = devices
        self._windows = windows
        self._status = status
        self._finest = finest
        self._history = WindowHistory(client, windows)

    def rules(self) -> RuleSet:
        """See :class:`Tables`."""
        return read_rules(self._client, self._alerts)

    def scan(self, more: Any = None) -> Page:
        """See :class:`Tables`."""
        start = {"ExclusiveStartKey": more} if more else {}
        answer = until_it_answers(
            partial(
                self._client.scan, TableName=self._devices, Limit=PAGE,
                ProjectionExpression=_FIELDS, ExpressionAttributeNames=_NAMES, **start,
            )
        )  # fmt: skip
        found = [_member(item) for item in answer["Items"]]
        return Page(found, _time_of(answer), answer.get("LastEvaluatedKey"))

    def members(self, devices: Sequence[str]) -> Page:
        """See :class:`Tables`."""
        request: Any = {
            self._devices: {
                "Keys": [{"device": {"S": one}} for one in devices],
                "ProjectionExpression": _FIELDS,
                "ExpressionAttributeNames": _NAMES,
            }
        }
        found: list[Member] = []
        at = 0
        while request:
            answer = until_it_answers(partial(self._client.batch_get_item, RequestItems=request))
            found += map(_member, answer["Responses"].get(self._devices, []))
            at = at or _time_of(answer)
            request = answer.get("UnprocessedKeys")
        return Page(found, at)

    def newest_ts(self, device: str) -> int:
        """See :class:`Tables`."""
        query = newest_windows_query(self._windows, device, self._finest.name, 1)
        query["ProjectionExpression"] = "last_ts"
        items = until_it_answers(partial(self._client.query, **query))["Items"]
        return int(items[0]["last_ts"]["N"]) if items else 0

    def open_alarms(self) -> dict[str, dict[str, RuleState]]:
        """See :class:`Tables`."""
        found = {}
        more: dict[str, Any] = {}
        while True:
            answer = until_it_answers(
                partial(
                    self._client.query, TableName=self._alerts, IndexName=OPEN_INDEX,
                    KeyConditionExpression="is_open = :yes",
                    ExpressionAttributeValues={":yes": {"S": "1"}}, **more,
                )
            )  # fmt: skip
            for item in answer["Items"]:
                states = msgspec.json.decode(item["states"]["S"], type=dict[str, RuleState])
                found[item["device"]["S"]] = states
            if "LastEvaluatedKey" not in answer:
                return found
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def windows(self, device: str, tier: Tier, start_ms: int, end_ms: int) -> list[Window]:
        """See :class:`Tables`."""
        return self._history.between(device, tier, start_ms, end_ms)

    def reports(self) -> list[dict[str, Any]]:
        """See :class:`Tables`."""
        items = until_it_answers(partial(self._client.scan, TableName=self._status))["Items"]
        return list(reports(items))


def _member(item: Mapping[str, Any]) -> Member:
    return Member(
        item["device"]["S"],
        item.get("group", {}).get("S", ""),
        item.get("type", {}).get("S", ""),
        int(item.get("last_seen", {}).get("N", "0")),
        int(item.get("last_ts", {}).get("N", "0")),
    )


def _time_of(answer: Mapping[str, Any]) -> int:
    """When the store answered (ms), to the second below."""
    sent = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    return int(sent.timestamp()) * 1000
