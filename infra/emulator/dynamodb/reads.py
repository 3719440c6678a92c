"""Reads of DynamoDB: what they cost, how much a batch returns, and reads that are stale."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from infra.emulator.dynamodb.capacity import Capacities, ThrottledError, throttled_answer
from infra.emulator.dynamodb.replicas import Replicas
from infra.emulator.dynamodb.sizes import ItemSizes
from infra.emulator.limits.item_size import item_bytes, read_units
from infra.emulator.world import World

BATCH_KEYS: Final = 100
BATCH_BYTES: Final = 16 * 1024 * 1024
_TOO_MANY: Final = "Too many items requested for the BatchGetItem call"


class Reads:
    """Counts every read, and limits what one call returns."""

    def __init__(
        self, world: World, dynamodb: Any, capacities: Capacities, replicas: Replicas,
        sizes: ItemSizes,
    ) -> None:  # fmt: skip
        self._sizes = sizes
        self._world = world
        self._dynamodb = dynamodb
        self._capacities = capacities
        self._replicas = replicas
        self._get, self._batch_get = dynamodb._get_item, dynamodb._batch_get_item
        self._paginate = dynamodb._paginate_evaluated_items
        self._page: list[Any] = []

    def get_item(self, data: dict[str, Any]) -> Any:
        """``GetItem``."""
        table = self._table(data.get("TableName"))
        if table is None:
            return self._get(data)
        consistent = bool(data.get("ConsistentRead"))
        try:
            self._charge(table, data.get("Key"), consistent=consistent)
        except ThrottledError as error:
            return throttled_answer(error)
        with self._replicas.seen(table, consistent=consistent):
            return self._get(data)

    def batch_get_item(self, data: dict[str, Any]) -> Any:
        """``BatchGetItem``: at most 100 keys over all tables, at most 16 MB of items; what does
        not fit, or finds no capacity, comes back as ``UnprocessedKeys``."""
        wanted = data.get("RequestItems")
        if not isinstance(wanted, dict) or not all(isinstance(w, dict) for w in wanted.values()):
            return self._batch_get(data)
        if sum(len(one.get("Keys") or ()) for one in wanted.values()) > BATCH_KEYS:
            return self._dynamodb.error_response_json("ValidationException", _TOO_MANY, 400)
        kept, left, error = self._split(wanted)
        if error is not None and not kept:
            return throttled_answer(error)
        with self._seen(kept):
            status, headers, body = self._batch_get({**data, "RequestItems": kept or wanted})
        if status == 200 and left:
            body = json.dumps({**json.loads(body), "UnprocessedKeys": left}).encode()
        return status, headers, body

    def _split(
        self, wanted: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], ThrottledError | None]:
        kept: dict[str, Any] = {}
        left: dict[str, Any] = {}
        size, reason = 0, None
        for name, config in wanted.items():
            table = self._table(name)
            consistent = bool(config.get("ConsistentRead"))
            for key in config.get("Keys") or ():
                side = kept
                if table is not None:
                    try:
                        size += self._charge(table, key, consistent=consistent, room=size)
                    except ThrottledError as error:
                        side, reason = left, error
                    if size > BATCH_BYTES:
                        side = left
                side.setdefault(name, {**config, "Keys": []})["Keys"].append(key)
        return kept, left, reason

    @contextmanager
    def _seen(self, wanted: dict[str, Any]) -> Iterator[None]:
        stale = [
            table
            for name, config in wanted.items()
            if not config.get("ConsistentRead") and (table := self._table(name)) is not None
        ]
        with self._replicas.all_seen(stale):
            yield

    def pages(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``Query`` and ``Scan``: charged by all that they evaluate."""

        def call(data: dict[str, Any]) -> Any:
            table = self._table(data.get("TableName"))
            if table is None:
                return original(data)
            consistent = bool(data.get("ConsistentRead"))
            index = data.get("IndexName")
            if refusal := self._refuse_index(table, index):
                return refusal
            self._page = []
            with self._replicas.seen(table, consistent=consistent):
                answer = original(data)
            units = read_units(sum(map(self._sizes.of, self._page)), consistent=consistent)
            try:
                self._spend(table, "", units)
            except ThrottledError as error:
                return throttled_answer(error)
            return answer

        return call

    def select(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A PartiQL ``SELECT``, counted by what it returns."""

        def run(table: Any, parsed: Any) -> Any:
            answer = original(table, parsed)
            if answer[0] == 200:
                size = sum(map(item_bytes, json.loads(answer[2])["Items"]))
                self._spend(table, "", read_units(size, consistent=False))
            return answer

        return run

    def _refuse_index(self, table: Any, index: str | None) -> Any:
        """An index that is still being created cannot be read."""
        for one in table.get("GlobalSecondaryIndexes") or ():
            if one["IndexName"] == index and one.get("IndexStatus") == "CREATING":
                return self._dynamodb.error_response_json(
                    "ValidationException",
                    f"Cannot read from backfilling global secondary index: {index}",
                    400,
                )
        return None

    def paginate(self, *arguments: Any, **more: Any) -> Any:
        """MiniStack's ``_paginate_evaluated_items``: the page that a call evaluates."""
        page, stopped = self._paginate(*arguments, **more)
        self._page = page
        return page, stopped

    def _charge(self, table: Any, key: Any, *, consistent: bool, room: int = 0) -> int:
        """Spend the units of one item, and return its bytes. One for which a batch has no room
        costs nothing."""
        try:
            item = self._dynamodb._get_item_by_key(table, key or {})
        except (TypeError, AttributeError, ValueError):  # a malformed key: refused by the call
            return 0
        size = self._sizes.of(item)
        if room + size <= BATCH_BYTES:
            hash_key = self._dynamodb._extract_key_val((key or {}).get(table["pk_name"]))
            self._spend(table, str(hash_key), read_units(size, consistent=consistent))
        return size

    def _spend(self, table: Any, key: str, units: float) -> None:
        self._capacities.admit_read(table, key, units)
        self._world.meters.add("dynamodb", "tables", table["TableName"], "read_units", by=units)
        self._world.meters.add("dynamodb", "tables", table["TableName"], "reads")

    def _table(self, name: Any) -> Any:
        return self._dynamodb._tables.get(self._dynamodb._normalize_table_name(name or ""))


def limit_and_meter_reads(
    world: World, dynamodb: Any, capacities: Capacities, replicas: Replicas, sizes: ItemSizes
) -> None:
    """Count the read units of every call, and limit what it returns."""
    reads = Reads(world, dynamodb, capacities, replicas, sizes)
    dynamodb._get_item = reads.get_item
    dynamodb._batch_get_item = reads.batch_get_item
    for name in ("_query", "_scan"):
        setattr(dynamodb, name, reads.pages(getattr(dynamodb, name)))
    dynamodb._partiql_select = reads.select(dynamodb._partiql_select)
    dynamodb._paginate_evaluated_items = reads.paginate
