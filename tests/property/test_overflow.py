"""A full window takes only its own device's readings down, and every worker decides the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.hot.items import load_window
from consumers.hot.runs import METRIC_BYTES, run_of_one
from consumers.hot.store import HotStore
from consumers.hot.windows import Window, has_room, window_start
from ingest.id_ranges import BOOT_BYTES, RANGE_BYTES, IdSet
from ingest.message import Message, decode
from ingest.record import Envelope, decode_record
from tests.harness.segment_buffer import decode_rows
from tests.harness.shard import NOW, TIERS, payload
from tests.property.test_exactness import Schedule

ROOM = 6 * RANGE_BYTES + BOOT_BYTES + METRIC_BYTES
"""A window with this weight is full: of one boot and one metric, after six ranges."""

HOSTILE = "dev-hostile"
Place = tuple[str, str, int]


class Crowded(Schedule):
    """Ordinary devices beside one whose readings scatter over two windows, then fill the gaps."""

    def send_all(self) -> None:
        super().send_all()
        numbers = list(range(60))
        self.random.shuffle(numbers)
        while numbers:
            some, numbers = numbers[:4], numbers[4:]
            for seq in some:
                ts = NOW - self.random.choice([0, 0, 30_000])
                self.sent[HOSTILE, "boot-one", seq] = (ts, {"temperature": 1.0})
                data = payload("boot-one", seq, [(ts, {"temperature": 1.0})])
                self.shard.put(HOSTILE, data, NOW - 1, NOW)
        for record in self.random.choices(self.shard.records, k=10):
            self.shard.put_raw(record.data, NOW - 1)

    def _send_poison(self, device: str, arrived: int) -> None:
        """None: whether it raises depends on whether its window is full."""

    def _check_checkpoint(self, position: Any) -> None:
        """See :func:`expected`, which says more at the end."""


def expected(schedule: Schedule) -> tuple[dict[tuple[str, int], str], set[Place]]:
    """Disposition by record and reading, and the ids folded, of a worker that nothing disturbs
    and that takes one reading after the other."""
    windows: dict[tuple[str, str, int], Window] = {}
    dispositions: dict[tuple[str, int], str] = {}
    for record in schedule.shard.records:
        envelope = decode_record(record.data)
        assert isinstance(envelope, Envelope)
        message = decode(envelope.payload)
        if not isinstance(message, Message):
            continue
        for i, reading in enumerate(message.readings):
            run = run_of_one(message.boot, message.seq + i, reading.ts, reading.metrics)
            mine = []
            for tier in TIERS:
                key = (envelope.device_id, tier.name, window_start(tier, reading.ts))
                mine.append(windows.setdefault(key, Window(key[0], key[1], 0)))
            fits = all(has_room(window, run.boot, run.seq) for window in mine)
            for window in mine if fits else ():
                window.fold(run)
            dispositions[record.sequence_number, i] = "ok" if fits else "overflow"
    held = {
        (device, boot, seq)
        for (device, _, _), window in windows.items()
        for boot, bounds in window.ids.bounds.items()
        for start, end in zip(bounds[0::2], bounds[1::2], strict=True)
        for seq in range(start, end)
    }
    return dispositions, held


def violations(seed: int) -> list[str]:
    schedule = Crowded(seed, faults=0.15)
    schedule.send_all()
    schedule.run()
    dispositions, held = expected(schedule)
    found = []
    rows = [row for body, _ in schedule.s3.objects.values() for row in decode_rows(body)]
    places = Counter((row.sequence_number, row.reading) for row in rows)
    if max(places.values()) > 1:
        found.append("A: archived twice")
    have = {(r.sequence_number, r.reading): r.disposition for r in rows if r.boot}
    if have != dispositions:
        wrong = {at: (have.get(at), of) for at, of in dispositions.items() if have.get(at) != of}
        found.append(f"C: dispositions differ from those of a quiet run: {wrong}")
    stored = set()
    for (device, name), item in schedule.dynamo.tables["windows"].items():
        ids = IdSet.load({boot: text["S"] for boot, text in item["ids"]["M"].items()})
        stored |= {(device, b, s) for d, b, s in schedule.sent if d == device and (b, s) in ids}
        window = Window(device, name, 0)
        load_window(window, item)
        if window.weight() >= ROOM + RANGE_BYTES + BOOT_BYTES + METRIC_BYTES:
            found.append(f"{name} of {device} weighs {window.weight()}")
    if stored != held:
        found.append(f"H: {len(stored)} ids are folded, expected {len(held)}")
    return found + schedule._checkpoint()


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a shard meets in days, met in a schedule."""
    monkeypatch.setattr("consumers.hot.windows.MAX_WEIGHT", ROOM)
    monkeypatch.setattr("consumers.shard.fold_queue.MAX_WEIGHT", ROOM)
    monkeypatch.setattr("consumers.shard.fold_queue.FULL", 3000)
    monkeypatch.setattr("consumers.hot.tier_windows.PENDING_READINGS", 11)
    monkeypatch.setattr("consumers.hot.tier_windows.OPEN_WINDOWS", 9)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 2**32))
def test_every_worker_decides_the_same_on_a_full_window(seed: int) -> None:
    assert violations(seed) == []


def test_the_schedules_do_fill_windows() -> None:
    schedule = Crowded(1, faults=0.0)
    schedule.send_all()
    counts = Counter(expected(schedule)[0].values())
    assert counts["overflow"] > 10
    assert counts["ok"] > 60


def mutant_judge_room_on_the_unloaded_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold first, and read the stored item just before the first write."""
    monkeypatch.setattr(HotStore, "load", lambda self, placed: None)


def mutant_reopen_a_full_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what does not make a full window grow."""

    def room(window: Window, boot: str, seq: int) -> bool:
        bounds = window.ids.bounds.get(boot, [])
        return has_room(window, boot, seq) or seq in bounds or seq + 1 in bounds

    monkeypatch.setattr("consumers.shard.fold_queue.has_room", room)


@pytest.mark.parametrize(
    "mutant", [mutant_judge_room_on_the_unloaded_window, mutant_reopen_a_full_window],
    ids=lambda m: m.__name__[7:],
)  # fmt: skip
def test_the_oracle_notices_when_children(mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    assert any(violations(seed) for seed in range(30))
