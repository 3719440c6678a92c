"""The guarantee of design §3 under random schedules of crash, overlap and lost replies.

The real processor, hot store and archive run on stores in memory; Hypothesis picks what is
sent, who processes it, when a worker dies or becomes a zombie, and which replies get lost.
Afterwards the invariants are checked against a fold of the distinct readings that were sent.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.hot import HotStore
from consumers.processor import ShardProcessor
from tests.harness.shard import NOW, TIERS, Shard, decode_rows, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

DEVICES = ("dev-a", "dev-b", "dev-c")


class Schedule:
    """One run: a shard with traffic, workers over it, and the invariants at its end."""

    def __init__(self, seed: int, *, faults: float) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.shard = Shard()
        self.dynamo = MemoryDynamo(self._fault)
        self.s3 = MemoryS3(self._fault)
        self.now = 0.0
        self.sent: dict[tuple[str, str, int], tuple[int, dict[str, float]]] = {}
        self.garbage = 0
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
            if self.random.random() < 0.1:
                self.garbage += 1
                self.shard.put(device, b"\xff garbage", arrived, NOW)
            self.shard.put(device, data, arrived, NOW)

    def run(self) -> None:
        """Workers come and go until one of them has processed everything undisturbed."""
        for _ in range(self.random.randint(1, 6)):
            self._live(open_worker(self.shard, self.dynamo, self.s3, lambda: self.now))
        self.faults = 0.0
        at = self.shard.start()
        last = open_worker(self.shard, self.dynamo, self.s3, lambda: self.now)
        for zombie, zombie_at in self.zombies:
            zombie.process(self.shard.records[zombie_at:])
            zombie.commit()
        last.process(self.shard.records[at:])
        last.commit()

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
        return [*self._hot(), *self._latest(), *self._archive(), *self._checkpoint()]

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
            item = next(i for (_, d), i in self.dynamo.tables["devices"].items() if d == device)
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
        return found

    def _checkpoint(self) -> list[str]:
        if self.shard.lag():
            return [f"L: {self.shard.lag()} records behind"]
        return []


def violations(seed: int, **options: Any) -> list[str]:
    schedule = Schedule(seed, faults=options.pop("faults", 0.15))
    schedule.send_all()
    schedule.run()
    return schedule.violations()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_results_are_exact_under_crashes_zombies_and_lost_replies(seed: int) -> None:
    assert violations(seed) == []


def _mutant_fold_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from consumers.ids import IdSet

    def add(self: IdSet, boot: str, seq: int) -> bool:
        original(self, boot, seq)
        return True

    original = IdSet.add
    monkeypatch.setattr(IdSet, "add", add)


def _mutant_skip_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    from consumers.optimistic import OptimisticWriter

    original = OptimisticWriter._execute

    def execute(self: Any, items: Any) -> Any:
        return [item for item in original(self, items) if item.loaded]

    monkeypatch.setattr(OptimisticWriter, "_execute", execute)


def _mutant_ignore_that_the_object_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    from consumers.archive import Archive

    def adopt(self: Any, key: str, backoff: Any) -> None:
        self._aligned = True
        self._advance(key, self.segment.last)

    monkeypatch.setattr(Archive, "_adopt", adopt)


def _mutant_checkpoint_what_was_received(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ShardProcessor.process

    def process(self: Any, records: Any) -> None:
        original(self, records)
        if self._received is not None:
            self._checkpoint(self._received)

    monkeypatch.setattr(ShardProcessor, "process", process)


def _mutant_drop_unprocessed_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    original = MemoryDynamo.read

    def read(self: Any, table: str, names: Any, keys: Any) -> Any:
        found, _ = original(self, table, names, keys)
        return found, []

    monkeypatch.setattr(MemoryDynamo, "read", read)
    # a lost key is then taken for a missing item, whose INSERT fails and is read again: only
    # a writer that believes it goes wrong
    monkeypatch.setattr(MemoryDynamo, "_apply", _overwrite(MemoryDynamo._apply))


def _overwrite(original: Any) -> Any:
    from consumers.optimistic import Outcome
    from tests.harness import stores

    def apply(self: Any, statement: Any) -> Outcome:
        table, key, expected, attributes = stores._parse(statement)
        if expected is None:
            self.tables.setdefault(table, {})[key] = attributes
            return Outcome.WRITTEN
        return original(self, statement)

    return apply


def _mutant_flush_after_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(self: Any) -> None:
        if not self.lease_lost:
            self._checkpoint(self._archive.commit())

    monkeypatch.setattr(ShardProcessor, "commit", commit)


def _mutant_take_back_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    original = HotStore.forget_idle

    def forget(self: Any) -> None:
        original(self)
        for tier in self.tiers:
            tier.open.clear()

    monkeypatch.setattr(HotStore, "flush_all", lambda self: None)
    monkeypatch.setattr(HotStore, "forget_idle", forget)


MUTANTS = [
    _mutant_fold_twice,
    _mutant_skip_a_conflict,
    _mutant_ignore_that_the_object_exists,
    _mutant_checkpoint_what_was_received,
    _mutant_drop_unprocessed_keys,
    _mutant_flush_after_the_archive,
    _mutant_take_back_nothing,
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
