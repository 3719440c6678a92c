"""The guarantee of design §3 under random schedules of crash, overlap and lost replies.

The real processor, hot store and archive run on stores in memory; Hypothesis picks what is
sent, who processes it, when a worker dies or becomes a zombie, and which replies get lost.
Afterwards the invariants are checked against a fold of the distinct readings that were sent.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.archive.commit import Archive
from consumers.archive.open_segment import OpenSegment
from consumers.hot.optimistic import Outcome
from consumers.hot.runs import Run
from consumers.hot.store import HotStore
from consumers.hot.windows import Window
from consumers.kcl.position import Position, position
from consumers.shard.processor import ShardProcessor
from ingest.message import Message, decode
from ingest.record import Envelope, decode_record
from ingest.tiers import Tier
from tests.harness import stores
from tests.harness.calls import ShuffledCalls
from tests.harness.segment_buffer import decode_rows
from tests.harness.shard import NOW, TIERS, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

DEVICES = ("dev-a", "dev-b", "dev-c")
POISON = "poison"
SLOW = (Tier("10s", 12.0, 3600), Tier("1m", 40.0, 86400))
"""Tiers that are flushed less often than segments are committed."""


class Schedule:
    """One run: a shard with traffic, workers over it, and the invariants at its end."""

    def __init__(self, seed: int, *, faults: float) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.shard = Shard()
        self.tiers = self.random.choice([TIERS, SLOW])
        self.dynamo = MemoryDynamo(self._fault)
        self.s3 = MemoryS3(self._fault)
        self.now = 0.0
        self.sent: dict[tuple[str, str, int], tuple[int, dict[str, float]]] = {}
        self.garbage = self.poison = 0
        self.early: list[str] = []
        self.shard.on_checkpoint = self._check_checkpoint
        self.zombies: list[tuple[ShardProcessor, int]] = []

    def _fault(self, _: str) -> str:
        if self.random.random() >= self.faults:
            return "ok"
        return self.random.choice(["throttle", "lost_before", "lost_after"])

    def send_all(self) -> None:
        """Traffic with duplicates, disorder, two boots, an hour's end and garbage."""
        messages = []
        for device in DEVICES:
            for boot in ("boot-one", "boot-two"):
                seq = 0
                while seq < 12:
                    count = self.random.randint(1, 4)
                    readings = []
                    for i in range(count):
                        ts = NOW - self.random.randint(0, 90_000)
                        readings.append((ts, {"temperature": self.random.uniform(-9, 9)}))
                        self.sent[device, boot, seq + i] = readings[-1]
                    messages.append((device, payload(boot, seq, readings)))
                    seq += count
        messages += self.random.choices(messages, k=8)
        self.random.shuffle(messages)
        arrived = NOW - 20
        for device, data in messages:
            arrived += self.random.choice([0, 1, 1, 2])
            for _ in range(self.random.choice([0, 0, 0, 0, 0, 1, 3])):
                self.garbage += 1
                self.shard.put(device, b"\xff garbage", arrived, NOW)
            if self.random.random() < 0.1:
                self._send_poison(device, arrived)
            self.shard.put(device, data, arrived, NOW)

    def _send_poison(self, device: str, arrived: int) -> None:
        """A message in which a good reading, sent before or after as well, precedes one that
        makes the fold raise."""
        known = [key for key in self.sent if key[0] == device]
        _, boot, seq = self.random.choice(known)
        ts, metrics = self.sent[device, boot, seq]
        next_ts = self.sent.get((device, boot, seq + 1), (NOW, {}))[0]
        poison = (next_ts, {"temperature": 0.0, POISON: 1.0})
        self.shard.put(device, payload(boot, seq, [(ts, metrics), poison]), arrived, NOW)
        self.poison += 1

    def _check_checkpoint(self, position: Position) -> None:
        """K, at the moment of each checkpoint: all up to it is archived, and its good readings
        are in their windows."""
        archived = {
            row.sequence_number for body, _ in self.s3.objects.values() for row in decode_rows(body)
        }
        held = {
            (item["device"]["S"], boot, number)
            for item in self.dynamo.tables.get("windows", {}).values()
            for boot, text in item["ids"]["M"].items()
            for number in _numbers(text["S"])
        }
        for record in self.shard.records:
            if record.position > position:
                break
            if record.sequence_number not in archived:
                self.early.append(f"K: checkpoint past {record.sequence_number}, not archived")
            envelope = decode_record(record.data)
            message = decode(envelope.payload) if isinstance(envelope, Envelope) else None
            if isinstance(envelope, Envelope) and isinstance(message, Message):
                if any(POISON in reading.metrics for reading in message.readings):
                    continue
                for i in range(len(message.readings)):
                    if (envelope.device_id, message.boot, message.seq + i) not in held:
                        self.early.append("K: checkpoint past a reading that is not durable")

    def run(self) -> None:
        """Workers come and go until one of them has processed everything undisturbed."""
        for _ in range(self.random.randint(1, 6)):
            self._live(self._open())
        self.faults = 0.0
        at = self.shard.start()
        last = self._open()
        for zombie, zombie_at in self.zombies:
            zombie.process(self.shard.records[zombie_at:])
            zombie.commit()
        last.process(self.shard.records[at:])
        last.commit()

    def _open(self) -> ShardProcessor:
        calls = ShuffledCalls(3, self.random)
        worker = open_worker(
            self.shard, self.dynamo, self.s3, lambda: self.now, tiers=self.tiers, calls=calls
        )
        worker.behind_ms = self.random.choice([0, 0, 60_000])
        return worker

    def _live(self, worker: ShardProcessor) -> None:
        at = self.shard.start()
        for _ in range(self.random.randint(1, 8)):
            batch = self.shard.records[at : at + self.random.randint(0, 9)]
            worker.process(batch)
            at += len(batch)
            self.now += self.random.choice([0.1, 1.0, 6.0])
            if self.zombies and self.random.random() < 0.5:
                self._zombie_works()
        if self.random.random() < 0.5:
            self.zombies.append((worker, at))

    def _zombie_works(self) -> None:
        index = self.random.randrange(len(self.zombies))
        zombie, at = self.zombies[index]
        batch = self.shard.records[at : at + self.random.randint(0, 9)]
        zombie.process(batch)
        self.zombies[index] = (zombie, at + len(batch))

    def violations(self) -> list[str]:
        return [
            *self.early,
            *self._hot(),
            *self._latest(),
            *self._archive(),
            *self._checkpoint(),
        ]

    def _hot(self) -> list[str]:
        found = []
        expected: dict[tuple[str, str], list[tuple[str, int, float]]] = {}
        for (device, boot, seq), (ts, metrics) in self.sent.items():
            for tier in TIERS:
                start = ts // tier.size_ms * tier.size_ms
                expected.setdefault((device, f"{tier.name}@{start}"), []).append(
                    (boot, seq, metrics["temperature"])
                )
        windows = self.dynamo.tables.get("windows", {})
        if len(windows) != len(expected):
            found.append(f"H: {len(windows)} windows, expected {len(expected)}")
        total = sum(int(item["n"]["N"]) for item in windows.values())
        if total != len(self.sent) * len(TIERS):
            found.append(f"H: {total} folded, expected {len(self.sent) * len(TIERS)}")
        want = sum(m["temperature"] for _, m in self.sent.values()) * len(TIERS)
        have = sum(
            float(item["metrics"]["M"]["temperature"]["M"]["sum"]["N"]) for item in windows.values()
        )
        if abs(want - have) > 1e-6:
            found.append(f"H: sum {have}, expected {want}")
        return found

    def _latest(self) -> list[str]:
        found = []
        for device in DEVICES:
            newest = max((ts, b, s) for (d, b, s), (ts, _) in self.sent.items() if d == device)
            item = self.dynamo.tables["devices"][(device,)]
            have = (int(item["last_ts"]["N"]), item["boot"]["S"], int(item["seq"]["N"]))
            if have != newest:
                found.append(f"H: latest of {device} {have}, expected {newest}")
        return found

    def _archive(self) -> list[str]:
        found = []
        rows = [row for body, _ in self.s3.objects.values() for row in decode_rows(body)]
        places = Counter((row.sequence_number, row.sub_sequence, row.reading) for row in rows)
        if doubled := [place for place, count in places.items() if count > 1]:
            found.append(f"A: archived twice: {doubled[:3]}")
        missing = {r.sequence_number for r in self.shard.records} - {p[0] for p in places}
        if missing:
            found.append(f"A: {len(missing)} records are not archived")
        ok = {(r.device_id, r.boot, r.seq) for r in rows if r.disposition == "ok"}
        if ok != set(self.sent):
            found.append(f"C: {len(ok)} ids archived as ok, expected {len(self.sent)}")
        if sum(row.disposition == "malformed" for row in rows) != self.garbage:
            found.append("C: garbage is not accounted for")
        if sum(row.disposition == "internal_error" for row in rows) != 2 * self.poison:
            found.append("C: poison is not accounted for")
        return found

    def _checkpoint(self) -> list[str]:
        if self.shard.lag():
            return [f"L: {self.shard.lag()} records behind"]
        return []


def _numbers(ranges: str) -> Iterator[int]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


@pytest.fixture(autouse=True)
def _poisoned_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the fold of a poisoned run raise halfway, with its ids already added."""
    original = Window.fold

    def fold(self: Window, run: Run) -> Any:
        if POISON in run.columns:
            self.ids.add(run.boot, run.seq, run.end)
            raise ZeroDivisionError("poison")
        return original(self, run)

    monkeypatch.setattr(Window, "fold", fold)


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a shard meets in days, met in a schedule."""
    monkeypatch.setattr("consumers.shard.fold_queue.FULL", 3000)
    monkeypatch.setattr("consumers.hot.tier_windows.PENDING_READINGS", 11)
    monkeypatch.setattr("consumers.hot.tier_windows.OPEN_WINDOWS", 9)


def violations(seed: int, **options: Any) -> list[str]:
    schedule = Schedule(seed, faults=options.pop("faults", 0.15))
    schedule.send_all()
    schedule.run()
    return schedule.violations()


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 2**32))
def test_results_are_exact_under_crashes_zombies_and_lost_replies(seed: int) -> None:
    assert violations(seed) == []


def _mutant_fold_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from ingest.id_ranges import IdSet

    def add(self: IdSet, boot: str, start: int, end: int) -> Any:
        original(self, boot, start, end)
        return [(start, end)]

    original = IdSet.add
    monkeypatch.setattr(IdSet, "add", add)


def _mutant_skip_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    from consumers.hot.optimistic import OptimisticWriter

    original = OptimisticWriter.written

    def written(self: Any, items: Any, outcomes: Any) -> Any:
        return [item for item in original(self, items, outcomes) if item.loaded]

    monkeypatch.setattr(OptimisticWriter, "written", written)


def _mutant_ignore_that_the_object_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    def adopt(self: Any, key: str, backoff: Any) -> None:
        self._aligned = True
        self._advance(key, self.segment.last)

    monkeypatch.setattr(Archive, "_adopt", adopt)


def _mutant_checkpoint_what_was_received(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ShardProcessor.process

    def process(self: Any, records: Any) -> None:
        original(self, records)
        if self._newest is not None:
            self._checkpoint(self._newest.position, 0)

    monkeypatch.setattr(ShardProcessor, "process", process)


def _mutant_take_an_unanswered_key_for_a_missing_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop ``UnprocessedKeys``, and write without the condition that would notice."""
    original = MemoryDynamo.read

    def read(self: Any, table: str, names: Any, keys: Any) -> Any:
        return original(self, table, names, keys)[0], []

    def put(self: Any, statement: Any) -> Any:
        table, key, expected, attributes = stores.parse(statement)
        if expected is not None:
            return conditional(self, statement)
        self.tables.setdefault(table, {})[key] = attributes
        return Outcome.WRITTEN

    conditional = MemoryDynamo.apply
    monkeypatch.setattr(MemoryDynamo, "read", read)
    monkeypatch.setattr(MemoryDynamo, "apply", put)


def _mutant_checkpoint_what_is_archived_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the hot store."""
    monkeypatch.setattr(HotStore, "oldest_epoch", 1 << 60)


def _mutant_keep_a_poisoned_record_half_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "take_back", lambda *_: 0)


def _mutant_forget_windows_that_are_not_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(self: Any) -> None:
        for tier in self.tiers:
            tier.open.clear()
            tier.queue.take_all()

    monkeypatch.setattr(HotStore, "flush_due", lambda self, now, *, timers: forget(self))


def _mutant_name_a_segment_by_its_first_good_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers then disagree on the name of the same segment."""
    append, first = OpenSegment.append, vars(OpenSegment)["first"].fget

    def remember(self: Any, record: Any, size: int, now: float) -> None:
        append(self, record, size, now)
        self.taken = [*getattr(self, "taken", []), record]

    def first_good(self: Any) -> Position:
        for record in getattr(self, "taken", []):
            if record.readings and "ok" in (record.dispositions or [record.disposition]):
                return position(record.sequence_number, record.sub_sequence)
        return cast(Position, first(self))

    monkeypatch.setattr(OpenSegment, "append", remember)
    monkeypatch.setattr(OpenSegment, "first", property(first_good))


MUTANTS = [
    _mutant_fold_twice,
    _mutant_skip_a_conflict,
    _mutant_ignore_that_the_object_exists,
    _mutant_checkpoint_what_was_received,
    _mutant_take_an_unanswered_key_for_a_missing_item,
    _mutant_checkpoint_what_is_archived_only,
    _mutant_keep_a_poisoned_record_half_folded,
    _mutant_forget_windows_that_are_not_durable,
    _mutant_name_a_segment_by_its_first_good_reading,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.__name__[8:])
def test_the_oracle_notices_when_the_code_is_broken(
    mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)

    def noticed(seed: int) -> bool:
        try:
            return violations(seed) != []
        except (AssertionError, KeyError, StopIteration):
            return True

    assert any(noticed(seed) for seed in range(60))
