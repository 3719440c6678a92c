"""Optimistic writes: full state under a version, and a re-read for whoever comes second.

The conflict rule, once, for both hot tables:

1. An item not read yet is read, consistently, and rebased (:meth:`Codec.adopt`).
2. It is written if the stored version is still the one it was rebased on.
3. When it is not, or when the outcome is unknown, go back to 1: what a lost reply did write is
   then found in the item, and nothing is left to do.

A throttled statement alone is sent again; the others of its batch are done.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, Protocol

from consumers import failpoints
from consumers.aws.backoff import Backoff
from consumers.hot.items import AttributeValue, Codec, ItemT

STATEMENTS_A_CALL: Final = 25
KEYS_A_CALL: Final = 100


class Outcome(enum.Enum):
    """What became of one statement of a batch."""

    WRITTEN = enum.auto()
    CONFLICT = enum.auto()
    THROTTLED = enum.auto()
    UNKNOWN = enum.auto()


class Statement(NamedTuple):
    """One PartiQL statement and its parameters."""

    text: str
    parameters: Sequence[AttributeValue]


Key = tuple[str, str]
Stored = Mapping[Key, Mapping[str, AttributeValue]]


class Store(Protocol):
    """What this module needs of DynamoDB. Both calls raise for what no retry mends."""

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        """Run up to 25 statements on distinct items; one outcome each, in order."""

    def read(
        self, table: str, key_names: tuple[str, str], keys: Sequence[Key]
    ) -> tuple[Stored, Sequence[Key]]:
        """Read up to 100 items consistently: those found, and the keys not answered for."""


class OptimisticWriter(Generic[ItemT]):
    """Makes items of one table durable."""

    def __init__(
        self, store: Store, codec: Codec[ItemT], backoff: Callable[[], Backoff] = Backoff
    ) -> None:
        self._store = store
        self._codec = codec
        self._backoff = backoff
        self._insert, self._update = _statements(codec)
        self.conflicts = 0
        self.throttled = 0

    def write(self, items: Iterable[ItemT]) -> None:
        """Return when every item's state is durable.

        :raises GaveUpError: when the store stays busy; items already settled are durable.
        """
        waiting = list(items)
        backoff = self._backoff()
        while waiting := self._load(waiting, backoff):
            again: list[ItemT] = []
            for start in range(0, len(waiting), STATEMENTS_A_CALL):
                if start:
                    failpoints.hit("between_batches")
                again += self._execute(waiting[start : start + STATEMENTS_A_CALL])
            if len(again) < len(waiting):
                backoff.progressed()
            if any(item.loaded for item in again):  # throttled: to be sent again as they are
                backoff.wait(f"DynamoDB keeps refusing writes to {self._codec.table}")
            elif len(again) == len(waiting):
                backoff.wait(f"writes to {self._codec.table} keep colliding")
            waiting = again

    def _execute(self, items: Sequence[ItemT]) -> list[ItemT]:
        """Send one batch; the items that are not durable yet, conflicted ones marked unread."""
        again: list[ItemT] = []
        outcomes = self._store.execute([self._statement(item) for item in items])
        for item, outcome in zip(items, outcomes, strict=True):
            if outcome is Outcome.WRITTEN:
                item.ver += 1
                self._codec.settle(item)
                continue
            again.append(item)
            if outcome is Outcome.THROTTLED:
                self.throttled += 1
            else:
                self.conflicts += 1
                item.loaded = False
        return again

    def _statement(self, item: ItemT) -> Statement:
        version, key = {"N": str(item.ver + 1)}, [{"S": part} for part in self._codec.key(item)]
        state = self._codec.values(item)
        if item.ver == 0:
            return Statement(self._insert, [*key, version, *state])
        return Statement(self._update, [version, *state, *key, {"N": str(item.ver)}])

    def _load(self, items: list[ItemT], backoff: Backoff) -> list[ItemT]:
        """Rebase the items that were not read yet; those that still have something to write."""
        unread = {self._codec.key(item): item for item in items if not item.loaded}
        ready = [item for item in items if item.loaded]
        keys = list(unread)
        while keys:
            asked, keys = keys[:KEYS_A_CALL], keys[KEYS_A_CALL:]
            found, unanswered = self._store.read(self._codec.table, self._codec.key_names, asked)
            for key in asked:
                if key not in unanswered and self._codec.adopt(unread[key], found.get(key)):
                    ready.append(unread[key])
            if unanswered:
                keys += unanswered
                if len(unanswered) == len(asked):
                    backoff.wait(f"DynamoDB keeps refusing reads of {self._codec.table}")
        return ready


def _statements(codec: Codec[ItemT]) -> tuple[str, str]:
    """The INSERT and the UPDATE of a table; every name quoted, some are reserved words."""
    hash_key, range_key = codec.key_names
    fields = ", ".join(f"'{name}': ?" for name in (*codec.key_names, "ver", *codec.columns))
    sets = " ".join(f'SET "{name}"=?' for name in ("ver", *codec.columns))
    insert = f'INSERT INTO "{codec.table}" VALUE {{{fields}}}'
    update = f'UPDATE "{codec.table}" {sets} WHERE "{hash_key}"=? AND "{range_key}"=? AND "ver"=?'
    return insert, update
