"""Alerts of those who see some groups only, page by page.

The alerts' index has no group: an item's device is looked up in the roster. A page is full unless
there is no more, and a cursor names what the page shows last, so neither tells of what was left
out. Who has few devices among many alerts would read the whole index for a page: after seven items
for each visible subject the subjects' own items are read by their keys instead, which costs as
much. So a page costs at most twice the cheaper of the two ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dashboard.alerts import END, START, Item, Position, place
from dashboard.answers import Device
from dashboard.principal import Principal
from dashboard.queries import Client
from dashboard.tenants.visible import GROUP, is_visible
from ingest.tables.alarms import alarms_query, changed_at

PAGE: Final = 100
"""Items of one query, and keys of one ``BatchGetItem``."""

ITEMS_A_KEY: Final = 7
"""A key costs half a read unit, an item of the index (some 600 bytes) a seventh of that."""

ATTEMPTS: Final = 10


class OwnAlarms:
    """The alert items of what a principal sees, in the order of :func:`_order`.

    :param devices: the visible part of the roster.
    """

    def __init__(
        self, client: Client, table: str, principal: Principal, devices: Mapping[str, Device]
    ) -> None:
        self._client = client
        self._table = table
        self._principal = principal
        self._devices = devices

    def half(self, is_open: str, position: Position, limit: int) -> tuple[list[Item], Position]:
        """Up to ``limit`` items of one half of the index from a position on, and the position
        after them."""
        if position == END:
            return [], END
        after = None if position == START else (-int(position[0]), str(position[1]))
        found = self._by_index(is_open, after, limit)
        if found is None:
            found = self._by_key(is_open)
        ordered = sorted(found, key=_order)
        rest = [item for item in ordered if after is None or _order(item) > after]
        return rest[:limit], place(rest[limit - 1]) if len(rest) > limit else END

    def _by_index(
        self, is_open: str, after: tuple[int, str] | None, limit: int
    ) -> list[Item] | None:
        """More than ``limit`` items after a place where there are so many, with all that changed at
        the same time; ``None`` when it is cheaper to read by key."""
        found: list[Item] = []
        budget = ITEMS_A_KEY * len(self._subjects())
        for read, item in enumerate(self._index(is_open, after)):
            if len(found) > limit and changed_at(item) != changed_at(found[-1]):
                break
            if read >= max(budget, PAGE):
                return None
            subject = item["device"]["S"]
            if is_visible(subject, self._devices, self._principal) and (
                after is None or _order(item) > after
            ):
                found.append(item)
        return found

    def _index(self, is_open: str, after: tuple[int, str] | None) -> Iterator[Item]:
        query = alarms_query(
            self._table, is_open=is_open == "1", until_ms=-after[0] if after else None
        )
        while True:
            answer = self._client.query(**query, Limit=PAGE)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _subjects(self) -> list[str]:
        return [*self._devices, *(f"{GROUP}{one}" for one in sorted(self._principal.groups or ()))]

    def _by_key(self, is_open: str) -> list[Item]:
        subjects = self._subjects()
        return [
            item
            for first in range(0, len(subjects), PAGE)
            for item in self._batch(subjects[first : first + PAGE])
            if item["is_open"]["S"] == is_open
        ]

    def _batch(self, subjects: list[str]) -> Iterator[Item]:
        """:raises TimeoutError: when DynamoDB leaves some out again and again."""
        asked: Any = {self._table: {"Keys": [{"device": {"S": one}} for one in subjects]}}
        for _ in range(ATTEMPTS):
            answer = self._client.batch_get_item(RequestItems=asked)
            yield from answer["Responses"].get(self._table, [])
            asked = answer.get("UnprocessedKeys")
            if not asked:
                return
        raise TimeoutError(f"DynamoDB did not answer for {len(asked[self._table]['Keys'])} alerts")


def _order(item: Item) -> tuple[int, str]:
    """What changed last first; what changed at the same time by name."""
    return -changed_at(item), item["device"]["S"]
