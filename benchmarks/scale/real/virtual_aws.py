"""AWS for one shard on a virtual clock: tables and a bucket in memory that take their time, and
refuse what is above the shard's share. Nothing waits: to wait is to move the clock."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from consumers.archive.commit import Put
from consumers.aws.in_flight import Call
from consumers.hot.items import AttributeValue, DeviceCodec, WindowCodec
from consumers.hot.optimistic import Key, Outcome, Statement, Stored
from infra.cost.measured import ROSTER
from infra.emulator.limits.latency import LatencyModel
from infra.emulator.profile import LIKE_AWS

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
FINEST: Final = "1m"
KEPT: Final = {FINEST: 20, "1h": 4}
"""Windows of a device that are kept, the newest by their first write: more than are written to
again, also after a crash."""


class Clock:
    """Virtual seconds since midnight."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Latencies:
    """How long the call took that was made last, and how long its process was at work to make it:
    ``item_s`` CPU seconds an item. Each stand-in says so here."""

    def __init__(self, seed: int, item_s: float = 0.0) -> None:
        self._model = LatencyModel(seed)
        self._item_s = item_s
        self.last = self.work = 0.0

    def draw(self, service: str, operation: str, items: int = 0) -> None:
        """A call of this operation with so many items is made."""
        self.last = self._model.draw(service, operation)
        self.work = items * self._item_s


class VirtualCalls:
    """:class:`consumers.aws.in_flight.Calls` in virtual time: a call decides when it is submitted,
    and its result can be taken when its latency is over."""

    def __init__(self, limit: int, clock: Clock, latencies: Latencies) -> None:
        self.limit = limit
        self._clock = clock
        self._latencies = latencies
        self._ends: list[tuple[float, int, Any]] = []
        self._submitted = 0

    @property
    def waiting(self) -> int:
        """See :class:`consumers.aws.in_flight.Calls`."""
        return len(self._ends)

    def submit(self, call: Call) -> None:
        """See :class:`consumers.aws.in_flight.Calls`."""
        value = call()
        self._submitted += 1
        self._clock.now += self._latencies.work
        heappush(self._ends, (self._clock.now + self._latencies.last, self._submitted, value))

    def result(self) -> Any:
        """The call that ends next."""
        end, _, value = heappop(self._ends)
        self._clock.now = max(self._clock.now, end)
        return value


class Share(NamedTuple):
    """Units a second that the tables have for this shard; ``inf`` is enough for everything."""

    writes: float
    reads: float


class Counted(NamedTuple):
    """Readings in stored windows of the finest tier, items written, and items read."""

    durable: int
    written: int
    looked_up: int


class _Stored(NamedTuple):
    """An item: its version, the readings that a window counts, and its state as JSON."""

    ver: int
    n: int
    state: bytes


SAVED_S: Final = 60.0
"""Units of so many seconds wait for a shard that does not use its share: the others use it then,
and leave theirs when they pause."""


class _Allowance:
    """Units that arrive at a rate that changes, some saved up."""

    def __init__(self) -> None:
        self._level = self._at = 0.0

    def take(self, rate: float, now: float) -> bool:
        """Whether a unit is there."""
        if rate == float("inf"):
            self._level, self._at = 0.0, now
            return True
        self._level = min(max(1.0, SAVED_S * rate), self._level + (now - self._at) * rate)
        self._at = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


class VirtualTables:
    """Both hot tables of a shard: conditional writes on ``ver``, as DynamoDB does them, one unit
    each. A thousandth of the calls fails as in the profile, half of these after they were applied.

    ``durable`` are the readings in the stored windows of the finest tier: each id once, because a
    window's item counts what it holds. ``writes`` are those that took place, by kind of item.
    """

    def __init__(
        self, clock: Clock, latencies: Latencies, share: Callable[[float], Share], devices: int
    ) -> None:
        self._clock = clock
        self._latencies = latencies
        self._share = share
        self._chance = random.Random(17)
        self._writes, self._reads = _Allowance(), _Allowance()
        self._items: dict[tuple[str, Key], _Stored] = {}
        self._kept = {kind: kept * devices for kind, kept in KEPT.items()}
        self._newest: dict[str, deque[tuple[str, Key]]] = {kind: deque() for kind in KEPT}
        self.writes: Counter[str] = Counter()
        self.reads = self.refused = self.durable = self.failed = 0
        self._marks: deque[tuple[float, Counted]] = deque()
        self._counted = Counted(0, 0, 0)

    def counted(self, now: float) -> Counted:
        """The counts as they were at a time, which must not be before that of the call before: a
        process that waits for its writes can be ahead of it."""
        while self._marks and self._marks[0][0] <= now:
            self._counted = self._marks.popleft()[1]
        return self._counted

    def _mark(self) -> None:
        self._marks.append(
            (self._clock.now, Counted(self.durable, self.writes.total(), self.reads))
        )

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        """See :class:`consumers.hot.optimistic.Store`."""
        self._latencies.draw("dynamodb", "BatchExecuteStatement", len(statements))
        fails = self._chance.random() < LIKE_AWS.failures
        if fails and self._chance.random() < 0.5:
            self.failed += 1
            return [Outcome.UNKNOWN] * len(statements)
        now, rate = self._clock.now, self._share(self._clock.now).writes
        outcomes = [self._write(statement, rate, now) for statement in statements]
        self.failed += fails
        self._mark()
        return [Outcome.UNKNOWN] * len(statements) if fails else outcomes

    def read(
        self, table: str, key_names: tuple[str, ...], keys: Sequence[Key]
    ) -> tuple[Stored, Sequence[Key]]:
        """See :class:`consumers.hot.optimistic.Store`."""
        self._latencies.draw("dynamodb", "BatchGetItem")
        now, rate = self._clock.now, self._share(self._clock.now).reads
        found: dict[Key, Mapping[str, AttributeValue]] = {}
        unanswered = []
        for key in keys:
            if not self._reads.take(rate, now):
                unanswered.append(key)
            elif (stored := self._items.get((table, key))) is not None:
                found[key] = _item(table, key, stored)
        self.reads += len(keys) - len(unanswered)
        self.refused += len(unanswered)
        self._mark()
        return found, unanswered

    def _write(self, statement: Statement, rate: float, now: float) -> Outcome:
        if not self._writes.take(rate, now):
            self.refused += 1
            return Outcome.THROTTLED
        table, key, version, state, condition = _parsed(statement)
        known = self._items.get((table, key))
        kind = ROSTER if table == ROSTER else key[1].split("#")[0]
        self.writes[kind] += 1  # a condition that fails costs a unit too
        if (known.ver if known is not None else 0) != condition:
            return Outcome.CONFLICT
        n = 0 if table == ROSTER else int(state[1]["N"])
        if kind == FINEST:
            self.durable += n - (known.n if known is not None else 0)
        self._items[table, key] = _Stored(int(version["N"]), n, _encode(state))
        if known is None and kind in self._newest:
            self._keep_newest(kind, (table, key))
        return Outcome.WRITTEN

    def _keep_newest(self, kind: str, name: tuple[str, Key]) -> None:
        newest = self._newest[kind]
        newest.append(name)
        if len(newest) > self._kept[kind]:
            del self._items[newest.popleft()]


def _item(table: str, key: Key, stored: _Stored) -> dict[str, AttributeValue]:
    codec = DeviceCodec if table == ROSTER else WindowCodec
    return {
        **{name: {"S": part} for name, part in zip(codec.key_names, key, strict=True)},
        "ver": {"N": str(stored.ver)},
        **dict(zip(codec.columns, _decode(stored.state), strict=True)),
    }


def _parsed(
    statement: Statement,
) -> tuple[str, Key, AttributeValue, Sequence[AttributeValue], int]:
    """Table, key, new version, full state, and the version that it is conditional on; 0: none."""
    text, values = statement
    table = text.split('"', 2)[1]
    keys = 1 if table == ROSTER else 2
    if text.startswith("INSERT"):
        key = tuple(value["S"] for value in values[:keys])
        return table, key, values[keys], values[keys + 1 :], 0
    state, rest = values[1 : -keys - 1], values[-keys - 1 : -1]
    return table, tuple(value["S"] for value in rest), values[0], state, int(values[-1]["N"])


class VirtualBucket:
    """:class:`consumers.archive.commit.ObjectStore` that keeps names, metadata and rows."""

    def __init__(self, latencies: Latencies) -> None:
        self._latencies = latencies
        self.objects: dict[str, Mapping[str, str]] = {}
        self.bytes = 0

    def create(self, key: str, body: BinaryIO, metadata: Mapping[str, str]) -> Put:
        """See the protocol."""
        self._latencies.draw("s3", "PutObject")
        if key in self.objects:
            return Put.EXISTS
        self.objects[key] = dict(metadata)
        self.bytes += body.seek(0, 2)
        return Put.CREATED

    def metadata(self, key: str) -> Mapping[str, Any] | None:
        """See the protocol."""
        return self.objects[key]

    def keys(self, prefix: str) -> Sequence[str] | None:
        """See the protocol."""
        return [key for key in self.objects if key.startswith(prefix)]


def jitter(seed: int) -> Callable[[], float]:
    """For a back-off that is the same in every run."""
    return random.Random(seed).random
