"""Optimistic writes: an item's full state under a version. Re-reads and retries on a version
conflict.

The conflict rule, once, for both hot tables:

1. An item that was not read yet is read, consistently, and rebased (:meth:`Codec.merge_stored`).
2. It is written if the stored version is still the one it was rebased on.
3. When it is not, or when the outcome is unknown, go back to 1. If a write whose reply was lost
   had been applied, the item that is read holds it, and nothing is left to do.

Reads of up to 100 items and writes of up to 25 are calls; several are in flight at once. What was
throttled, not answered or in conflict is tried again when the other calls have ended: only those
items, after a wait with jitter. A throttled call halves the number of calls in flight; each one
that is not gives a part of it back.
"""

from __future__ import annotations

import contextlib
import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol

from consumers import failpoints
from consumers.aws.backoff import Backoff
from consumers.aws.in_flight import Call, Calls, OneAtATime
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


Key = tuple[str, ...]
Stored = Mapping[Key, Mapping[str, AttributeValue]]


class Store(Protocol):
    """The two calls of DynamoDB that this module needs; they may run in several threads at once.
    Both raise for what no retry mends."""

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        """Run up to 25 statements on distinct items; one outcome each, in order."""

    def read(
        self, table: str, key_names: tuple[str, ...], keys: Sequence[Key]
    ) -> tuple[Stored, Sequence[Key]]:
        """Read up to 100 items consistently: those found, and the keys not answered for."""


class OptimisticWriter(Generic[ItemT]):
    """Reads and writes the items of one table; see :func:`write_all` for the order of calls."""

    def __init__(self, store: Store, codec: Codec[ItemT]) -> None:
        self._store = store
        self._codec = codec
        self.table = codec.table
        self._insert, self._update = _statements(codec)
        self.conflicts = 0
        self.throttled = 0
        self.items_written = 0

    def write_call(self, items: Sequence[ItemT]) -> Call:
        """The call that writes these items as they are now."""
        statements = [self._statement(item) for item in items]
        return lambda: self._store.execute(statements)

    def written(self, items: Sequence[ItemT], outcomes: Sequence[Outcome]) -> list[ItemT]:
        """Settle what was written; the items that are not durable yet. Those in conflict must be
        read again."""
        again: list[ItemT] = []
        for item, outcome in zip(items, outcomes, strict=True):
            if outcome is Outcome.WRITTEN:
                item.ver += 1
                self.items_written += 1
                self._codec.settle(item)
                continue
            again.append(item)
            if outcome is Outcome.THROTTLED:
                self.throttled += 1
            else:
                self.conflicts += 1
                item.loaded = False
        return again

    def read_call(self, items: Sequence[ItemT]) -> Call:
        """The call that reads what is stored of these items."""
        keys = [self._codec.key(item) for item in items]
        return lambda: self._store.read(self._codec.table, self._codec.key_names, keys)

    def merged(
        self, items: Sequence[ItemT], answer: tuple[Stored, Sequence[Key]]
    ) -> tuple[list[ItemT], list[ItemT]]:
        """Merge what was read into the items: those that have something to write, and those that
        the store did not answer for."""
        found, unanswered = answer
        missing = set(unanswered)
        ready: list[ItemT] = []
        unread: list[ItemT] = []
        for item in items:
            key = self._codec.key(item)
            if key in missing:
                unread.append(item)
            elif self._codec.merge_stored(item, found.get(key)):
                ready.append(item)
        return ready, unread

    def _statement(self, item: ItemT) -> Statement:
        version, key = {"N": str(item.ver + 1)}, [{"S": part} for part in self._codec.key(item)]
        state = self._codec.values(item)
        if item.ver == 0:
            return Statement(self._insert, [*key, version, *state])
        return Statement(self._update, [version, *state, *key, {"N": str(item.ver)}])


Work = tuple[OptimisticWriter[Any], Iterable[Any]]
"""A table's writer and the items that it shall work on."""


def write_all(
    work: Iterable[Work],
    calls: Calls | None = None,
    backoff: Callable[[], Backoff] = Backoff,
) -> None:
    """Return when the state of every item is durable.

    :raises GaveUpError: when the store stays busy; items already settled are durable.
    """
    _Rounds(calls or OneAtATime(), backoff(), write=True).run(work)


def read_all(
    work: Iterable[Work],
    calls: Calls | None = None,
    backoff: Callable[[], Backoff] = Backoff,
) -> None:
    """Return when every item is merged with its stored item; items merged before stay as they
    are.

    :raises GaveUpError: when the store stays busy.
    """
    _Rounds(calls or OneAtATime(), backoff(), write=False).run(work)


class _Task(NamedTuple):
    """One call and the items that it is about."""

    writer: OptimisticWriter[Any]
    items: Sequence[Any]
    writes: bool


class _Rounds:
    """The calls of one flush. A round ends when none of its calls is in flight; what is left
    over makes the next one."""

    def __init__(self, calls: Calls, backoff: Backoff, *, write: bool) -> None:
        self._calls = calls
        self._backoff = backoff
        self._write = write
        self._allowed = float(calls.limit)
        self._tasks: deque[_Task] = deque()
        self._again: list[tuple[OptimisticWriter[Any], list[Any]]] = []
        self._progress = self._refused = self._wrote = False

    def run(self, work: Iterable[Work]) -> None:
        """Work until nothing is left."""
        for writer, items in work:
            self._add(writer, items)
        try:
            while self._tasks:
                self._round()
                self._next_round()
        except BaseException:
            self._drain()
            raise

    def _add(self, writer: OptimisticWriter[Any], items: Iterable[Any]) -> None:
        """Queue reads of the items that were not read, and writes of the others."""
        unread: list[Any] = []
        loaded: list[Any] = []
        for item in items:
            (loaded if item.loaded else unread).append(item)
        if self._write:
            self._tasks += _tasks(writer, loaded, STATEMENTS_A_CALL, writes=True)
        self._tasks += _tasks(writer, unread, KEYS_A_CALL, writes=False)

    def _round(self) -> None:
        self._progress = self._refused = False
        while self._tasks or self._calls.waiting:
            while self._tasks and self._calls.waiting < max(1, int(self._allowed)):
                self._submit(self._tasks.popleft())
            task, answer = self._calls.result()
            refused = (
                self._wrote_some(task, answer) if task.writes else self._read_some(task, answer)
            )
            if refused:
                self._refused = True
                self._allowed = max(1.0, self._allowed / 2)
            else:
                self._allowed = min(float(self._calls.limit), self._allowed + 1 / self._allowed)

    def _submit(self, task: _Task) -> None:
        if task.writes:
            if self._wrote:
                failpoints.hit("between_batches")
            self._wrote = True
            call = task.writer.write_call(task.items)
        else:
            call = task.writer.read_call(task.items)
        self._calls.submit(lambda: (task, call()))

    def _wrote_some(self, task: _Task, outcomes: Sequence[Outcome]) -> bool:
        """Take the outcomes of a write in; whether the store was busy."""
        again = task.writer.written(task.items, outcomes)
        self._progress |= len(again) < len(task.items)
        if again:
            self._again.append((task.writer, again))
        return Outcome.THROTTLED in outcomes

    def _read_some(self, task: _Task, answer: tuple[Stored, Sequence[Key]]) -> bool:
        """Take what was read in, and queue the writes; whether the store was busy."""
        ready, unread = task.writer.merged(task.items, answer)
        self._progress |= len(unread) < len(task.items)
        if self._write:
            self._tasks += _tasks(task.writer, ready, STATEMENTS_A_CALL, writes=True)
        if unread:
            self._again.append((task.writer, unread))
        return bool(unread)

    def _next_round(self) -> None:
        """Queue what is left over, after a wait if the store was busy or nothing went through."""
        again, self._again = self._again, []
        if not again:
            return
        if self._progress:
            self._backoff.progressed()
        if self._refused or not self._progress:
            what = "refusing calls on" if self._refused else "having conflicts on"
            self._backoff.wait(f"DynamoDB keeps {what} {again[0][0].table}")
        left: dict[OptimisticWriter[Any], list[Any]] = {}
        for writer, items in again:
            left.setdefault(writer, []).extend(items)
        for writer, items in left.items():
            self._add(writer, items)

    def _drain(self) -> None:
        """Let the calls in flight end; what they would say is of no use any more."""
        while self._calls.waiting:
            with contextlib.suppress(Exception):
                self._calls.result()


def _tasks(
    writer: OptimisticWriter[Any], items: Sequence[Any], size: int, *, writes: bool
) -> Iterator[_Task]:
    for start in range(0, len(items), size):
        yield _Task(writer, items[start : start + size], writes)


def _statements(codec: Codec[ItemT]) -> tuple[str, str]:
    """The INSERT and the UPDATE of a table; every name quoted, some are reserved words."""
    fields = ", ".join(f"'{name}': ?" for name in (*codec.key_names, "ver", *codec.columns))
    sets = " ".join(f'SET "{name}"=?' for name in ("ver", *codec.columns))
    key = " AND ".join(f'"{name}"=?' for name in codec.key_names)
    insert = f'INSERT INTO "{codec.table}" VALUE {{{fields}}}'
    update = f'UPDATE "{codec.table}" {sets} WHERE {key} AND "ver"=?'
    return insert, update
