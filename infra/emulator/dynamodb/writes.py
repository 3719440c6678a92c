"""Writes of DynamoDB: what they cost, and what a table without capacity refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, Final

from infra.emulator.dynamodb.capacity import Capacities, ThrottledError, throttled_answer
from infra.emulator.dynamodb.replicas import Replicas
from infra.emulator.dynamodb.sizes import ItemSizes
from infra.emulator.limits.item_size import write_units
from infra.emulator.world import World

_KINDS: Final = 32  # kinds of item that are counted apart in a table
_FAILED: Final = "failed#"  # the kind of a write that failed on its condition
_REAPER: Final = "dynamodb-ttl-reaper"  # the thread in which MiniStack expires items
_CHARGED: Final = frozenset({"ConditionalCheckFailedException", "DuplicateItemException"})


def kind_of(sort_key: str) -> str:
    """The kind of an item whose sort key is ``<kind>#<rest>``, such as a window's tier."""
    kind, separator, _ = sort_key.partition("#")
    return kind if separator else "item"


class Writes:
    """Counts every write, and refuses those for which there is no capacity."""

    def __init__(
        self, world: World, dynamodb: Any, capacities: Capacities, replicas: Replicas,
        sizes: ItemSizes,
    ) -> None:  # fmt: skip
        self._world = world
        self._dynamodb = dynamodb
        self._capacities = capacities
        self._replicas = replicas
        self._sizes = sizes
        self._set, self._remove = dynamodb._set_item, dynamodb._remove_item
        self._kinds: dict[str, set[str]] = {}
        self._failed: Any = None
        self.admitted = False

    def set_item(self, table: Any, hash_key: Any, sort_key: Any, item: Any) -> Any:
        """MiniStack's ``_set_item``; every write of a call ends in it."""
        old = table["items"].get(hash_key, {}).get(sort_key)
        units = write_units(self._sizes.of(old), self._sizes.of(item))
        self._charge(table, hash_key, sort_key, units, (old, item))
        self._sizes.forget(old)
        return self._set(table, hash_key, sort_key, item)

    def remove_item(self, table: Any, hash_key: Any, sort_key: Any) -> Any:
        """MiniStack's ``_remove_item``, of calls; expiry is free, as on AWS."""
        if threading.current_thread().name == _REAPER:
            return self._remove(table, hash_key, sort_key)
        old = table["items"].get(hash_key, {}).get(sort_key)
        units = write_units(self._sizes.of(old), 0)
        self._charge(table, hash_key, sort_key, units, (old, None))
        self._sizes.forget(old)
        return self._remove(table, hash_key, sort_key)

    def _charge(
        self, table: Any, hash_key: Any, sort_key: Any, units: float, change: tuple[Any, Any]
    ) -> None:
        if not self.admitted:
            self._capacities.admit_write(table, str(hash_key), units)
        indexes = table.get("GlobalSecondaryIndexes") or ()
        units += sum(self._dynamodb._index_write_units(table, one, *change) for one in indexes)
        self._count(table["TableName"], str(sort_key), units)
        self._replicas.written(table, hash_key, sort_key, change[0])

    def _count(self, name: str, sort_key: str, units: float) -> None:
        add = self._world.meters.add
        kinds = self._kinds.setdefault(name, set())
        kind = kind_of(sort_key)
        if kind not in kinds:
            kind = kind if len(kinds) < _KINDS else "other"
            kinds.add(kind)
        add("dynamodb", "tables", name, "write_units", by=units)
        add("dynamodb", "tables", name, "writes")
        add("dynamodb", "tables", name, "kinds", kind, "write_units", by=units)
        add("dynamodb", "tables", name, "kinds", kind, "writes")

    def condition_failed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Remember the item of a failed condition: the write is charged by its size."""

        def conditional_check_failed(data: Any, old_item: Any, *more: Any) -> Any:
            self._failed = old_item
            return original(data, old_item, *more)

        return conditional_check_failed

    def statement(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A PartiQL write: charged too when its condition fails or its key exists."""

        def execute(table: Any, parsed: Any, *more: Any) -> Any:
            self._failed = None
            answer = original(table, parsed, *more)
            self._charge_failed(answer, table, parsed.get("item"))
            return answer

        return execute

    def call(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A call that writes one item."""

        def call(data: Any) -> Any:
            self._failed = None
            try:
                answer = original(data)
            except ThrottledError as error:
                return throttled_answer(error)
            table = self._dynamodb._tables.get(
                self._dynamodb._normalize_table_name(data.get("TableName") or "")
            )
            if table:
                self._charge_failed(answer, table, data.get("Item") or data.get("Key"))
            return answer

        return call

    def statement_call(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``ExecuteStatement``, also as it runs in a batch: a throttle is its answer."""

        def call(data: Any) -> Any:
            try:
                return original(data)
            except ThrottledError as error:
                return throttled_answer(error)

        return call

    def whole(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A transaction: counted, and never refused half-way."""

        def call(data: Any) -> Any:
            self.admitted = True
            try:
                return original(data)
            finally:
                self.admitted = False

        return call

    def batch(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``BatchWriteItem``: what finds no capacity comes back as ``UnprocessedItems``."""
        run = self.whole(original)

        def call(data: Any) -> Any:
            if not self._capacities.limited:
                return run(data)
            kept, refused, error = self._capacities.split_batch(data.get("RequestItems") or {})
            if error is None:
                return run(data)
            if not any(kept.values()):
                return throttled_answer(error)
            status, headers, body = run({**data, "RequestItems": kept})
            if status == 200:
                body = json.dumps({**json.loads(body), "UnprocessedItems": refused}).encode()
            return status, headers, body

        return call

    def _charge_failed(self, answer: Any, table: Any, named: Any) -> None:
        """A write whose condition fails, or whose key exists, costs what the item there is."""
        if answer[0] < 400 or answer[1].get("x-amzn-errortype") not in _CHARGED:
            return
        there = self._failed or (self._dynamodb._get_item_by_key(table, named) if named else None)
        units = write_units(self._sizes.of(there), 0)
        key = self._dynamodb._extract_key_val((there or named or {}).get(table["pk_name"]))
        self._capacities.spend_write(table, str(key), units)
        self._count(table["TableName"], _FAILED, units)


def limit_and_meter_writes(
    world: World, dynamodb: Any, capacities: Capacities, replicas: Replicas, sizes: ItemSizes
) -> None:
    """Count the write units of every call, and refuse those that a table has no capacity for."""
    writes = Writes(world, dynamodb, capacities, replicas, sizes)
    _ = (dynamodb._ttl_reaper, dynamodb._index_write_units, dynamodb._normalize_table_name,
         dynamodb._get_item_by_key, dynamodb._extract_key_val)  # fmt: skip
    dynamodb._item_size_bytes = sizes.of  # MiniStack compares it with 400 KB, and refuses
    dynamodb._set_item = writes.set_item
    dynamodb._remove_item = writes.remove_item
    dynamodb._conditional_check_failed = writes.condition_failed(dynamodb._conditional_check_failed)
    for name in ("_partiql_insert", "_partiql_update", "_partiql_delete"):
        setattr(dynamodb, name, writes.statement(getattr(dynamodb, name)))
    for name in ("_put_item", "_update_item", "_delete_item"):
        setattr(dynamodb, name, writes.call(getattr(dynamodb, name)))
    dynamodb._execute_statement = writes.statement_call(dynamodb._execute_statement)
    for name in ("_transact_write_items", "_execute_transaction"):
        setattr(dynamodb, name, writes.whole(getattr(dynamodb, name)))
    dynamodb._batch_write_item = writes.batch(dynamodb._batch_write_item)
