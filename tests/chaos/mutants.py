"""Defects that others shipped, built into a child on purpose: each must be noticed.

A mutant is a function that breaks the code of the process it is called in. Those of the
property test are here too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import pytest

from consumers.hot.items import WindowCodec
from consumers.hot.optimistic import OptimisticWriter, Outcome, Statement
from consumers.hot.windows import Window
from consumers.shard.child import Pipe
from consumers.shard.processor import ShardProcessor
from ingest.id_ranges import IdSet
from tests.property.test_exactness import MUTANTS as OF_THE_PROPERTY_TEST


def _gate_by_sequence_number() -> None:
    """Keep a high-water mark where a set of ids is needed: disorder then looks like repetition."""
    original = IdSet.add

    def add(self: IdSet, boot: str, start: int, end: int) -> Any:
        bounds = self.bounds.get(boot)
        return original(self, boot, start, end) if bounds is None or start >= bounds[-1] else ()

    _set(IdSet, "add", add)


def _add_deltas_instead_of_full_state() -> None:
    """After an unknown outcome, add what is pending to whatever is there by now."""
    add, refold = IdSet.add, Window.refold
    adding = False

    def always(self: IdSet, boot: str, start: int, end: int) -> Any:
        fresh = add(self, boot, start, end)
        return [(start, end)] if adding else fresh

    def delta(self: Window) -> None:
        nonlocal adding
        adding = True
        try:
            refold(self)
        finally:
            adding = False

    _set(IdSet, "add", always)
    _set(Window, "refold", delta)


def _store_ids_apart_from_the_window() -> None:
    """Write down which ids were seen, and then, in another call, what was folded of them."""
    original = OptimisticWriter.write_call

    def write_call(self: Any, items: Sequence[Any]) -> Any:
        if isinstance(self._codec, WindowCodec):
            outcomes = self._store.execute([_ids_only(self, item) for item in items])
            for item, outcome in zip(items, outcomes, strict=True):
                item.ver += outcome is Outcome.WRITTEN
        return original(self, items)

    _set(OptimisticWriter, "write_call", write_call)


def _ids_only(writer: Any, item: Window) -> Statement:
    codec = writer._codec
    device, window = ({"S": part} for part in codec.key(item))
    values = dict(zip(codec.columns, codec.values(item), strict=True))
    version = {"N": str(item.ver + 1)}
    if item.ver:
        text = (f'UPDATE "{codec.table}" SET "ver"=? SET "ids"=? '
                'WHERE "device"=? AND "window"=? AND "ver"=?')  # fmt: skip
        return Statement(text, [version, values["ids"], device, window, {"N": str(item.ver)}])
    values |= {"n": {"N": "0"}, "metrics": {"M": {}}}
    return Statement(writer._insert, [device, window, version, *values.values()])


def _checkpoint_without_a_position() -> None:
    """Let the KCL checkpoint whatever it has handed over."""
    original = Pipe.checkpoint
    _set(Pipe, "checkpoint", lambda self, position, place=None: original(self, None))


def _swallow_an_exception() -> None:
    """Report a batch as done whatever became of it, as the stock processor does."""
    original = ShardProcessor.process

    def process(self: Any, records: Any) -> None:
        with contextlib.suppress(Exception):
            original(self, records)

    _set(ShardProcessor, "process", process)


def _drop_unprocessed_keys() -> None:
    """Never ask again for what a batch read did not answer."""

    original = OptimisticWriter.merged

    def merged(self: Any, items: Any, answer: Any) -> Any:
        ready, _ = original(self, items, answer)
        return ready, []

    _set(OptimisticWriter, "merged", merged)


def _trust_a_lost_reply() -> None:
    """Take a write of unknown outcome for done."""
    from consumers.hot import dynamodb

    original = dynamodb.DynamoStore.execute

    def execute(self: Any, statements: Any) -> Any:
        outcomes = original(self, statements)
        return [Outcome.WRITTEN if o is Outcome.UNKNOWN else o for o in outcomes]

    _set(dynamodb.DynamoStore, "execute", execute)


def _set(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)


def _name(mutant: Callable[..., None]) -> str:
    return mutant.__name__.removeprefix("_mutant").lstrip("_").replace("_", " ")


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    _name(mutant): mutant
    for mutant in (
        _gate_by_sequence_number,
        _add_deltas_instead_of_full_state,
        _store_ids_apart_from_the_window,
        _checkpoint_without_a_position,
        _swallow_an_exception,
        _drop_unprocessed_keys,
        _trust_a_lost_reply,
    )
} | {
    _name(mutant): partial(mutant, pytest.MonkeyPatch())
    for mutant in OF_THE_PROPERTY_TEST
    if mutant.__name__
    != "_mutant_take_an_unanswered_key_for_a_missing_item"  # of a store in memory
}
"""By name; applied for the rest of a process's life."""
