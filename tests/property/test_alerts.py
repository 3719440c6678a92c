"""Invariant T under random schedules: each transition takes effect once, under one id.

The schedules are those of :mod:`tests.property.test_exactness`: readings come late, twice and out
of order, workers die at any call, two of them work on one shard, replies get lost. What the
receiver of the events believes at the end must be what the rules say on the windows as they are.
"""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from consumers.alerts.alarms import AlarmsCodec
from consumers.alerts.evaluator import Evaluator
from consumers.alerts.plan import Plan
from consumers.alerts.rule_file import parse_rules
from consumers.alerts.rules import Rule
from consumers.alerts.transition import decide
from consumers.hot.store import HotStore
from consumers.shard.processor import ShardProcessor
from tests.harness.alerts import MemoryHistory, Receiver, with_rules
from tests.harness.calls import ShuffledCalls
from tests.harness.shard import TIERS, open_worker
from tests.harness.stores import MemoryDynamo
from tests.property.test_exactness import (
    DEVICES,
    Schedule,
    _little_memory,  # noqa: F401
    _poisoned_fold,  # noqa: F401
)

RULES = [
    rule
    for _, _, rule in parse_rules(
        """
        [[rule]]
        name = "warm"
        tier = "10s"
        when = "mean(temperature) > 1"
        clear = "mean(temperature) < -1"

        [[rule]]
        name = "peak"
        tier = "10s"
        when = "max(temperature) >= 6"

        [[rule]]
        name = "long"
        tier = "10s"
        when = "mean(temperature) < 1"
        for = "2 of 3"
        clear_for = 2

        [[rule]]
        name = "jump"
        tier = "10s"
        when = "change(temperature) > 4 or min(temperature) < -8"

        [[rule]]
        name = "falls"
        tier = "10s"
        when = "change(temperature) < -2"
        for = "2 of 3"
        clear_for = 2
        """
    )
]


def expected(dynamo: MemoryDynamo) -> set[tuple[str, str, int, str]]:
    """The transitions that follow from the stored windows, by the rules alone."""
    found: set[tuple[str, str, int, str]] = set()
    tier = TIERS[0]
    for device in DEVICES:
        windows = MemoryHistory(dynamo).between(device, tier, 0, 1 << 50)
        by_start = {one.end - tier.size_ms: one for one in windows}
        for rule in RULES:
            plan = Plan(tier, [rule])
            verdicts = {
                start: plan.codes(window, by_start.get(start - tier.size_ms))[0]
                for start, window in by_start.items()
            }
            newest = max(by_start)
            if not plan.early or verdicts[newest] != 3:
                del verdicts[newest]
            for change in decide(rule, None, verdicts, 0, tier.size_ms):
                found.add((rule.name, device, change.entry.window, change.entry.kind))
    return found


class AlertSchedule(Schedule):
    """A schedule in which workers evaluate rules, and a receiver takes what they tell."""

    rules: list[Rule] = RULES

    def __init__(self, seed: int, *, faults: float) -> None:
        super().__init__(seed, faults=faults)
        self.receiver = Receiver(self.dynamo, random.Random(seed + 1))

    def _open(self) -> ShardProcessor:
        calls = ShuffledCalls(3, self.random)

        epoch = self.shard.epoch + 1  # the lease that the worker takes

        def wrap(hot: HotStore) -> HotStore:
            return with_rules(
                hot, self.rules, self.dynamo, self.tiers, ShuffledCalls(3, self.random),
                lambda: self.shard.epoch == epoch,
            )  # fmt: skip

        worker = open_worker(
            self.shard, self.dynamo, self.s3, lambda: self.now, tiers=self.tiers, calls=calls,
            fold_wrapper=wrap,
        )  # fmt: skip
        worker.behind_ms = self.random.choice([0, 0, 60_000])
        return worker

    def _live(self, worker: ShardProcessor) -> None:
        try:
            super()._live(worker)
        finally:
            self.receiver.take()

    def violations(self) -> list[str]:
        self.receiver.take(forgets=0)
        have, want = self.receiver.standing(), expected(self.dynamo)
        found = [f"T: missing {one}" for one in want - have]
        found += [f"T: extra {one}" for one in have - want]
        contents: dict[str, Any] = {}
        for one in self.receiver.got:
            if contents.setdefault(one.id, one) != one:
                found.append(f"T: two transitions under one id: {one} {contents[one.id]}")
        return found


def violations(seed: int) -> list[str]:
    schedule = AlertSchedule(seed, faults=0.15)
    schedule.send_all()
    schedule.run()
    return schedule.violations()


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 2**32))
@example(143)  # a successor looks back on windows that are compared with the one before them
@example(300057)  # a poisoned message leaves a window without readings behind the newest one
def test_each_transition_takes_effect_once_whatever_crashes_or_comes_twice(seed: int) -> None:
    assert violations(seed) == []


class _Killed(BaseException):
    """The worker ends here."""


def _work(schedule: AlertSchedule) -> None:
    """One worker processes everything, unless it is killed."""
    worker, records = schedule._open(), schedule.shard.records
    for at in range(0, len(records), 9):
        worker.process(records[at : at + 9])
        schedule.now += 2.0
    worker.commit()


@pytest.mark.parametrize("point", ["windows_durable", "alerts_recorded"])
def test_a_worker_that_dies_around_the_evaluation_loses_and_doubles_nothing(
    point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(60):
        schedule = AlertSchedule(seed, faults=0.1)
        schedule.send_all()
        left = schedule.random.randint(0, 4)

        def hit(name: str, schedule: AlertSchedule = schedule) -> None:
            nonlocal left
            if name == point:
                left -= 1
                if left == -1:
                    raise _Killed

        monkeypatch.setattr("consumers.failpoints.hit", hit)
        with contextlib.suppress(_Killed):
            _work(schedule)
        schedule.receiver.take()
        schedule.run()
        assert schedule.violations() == []


def _mutant_evaluate_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    original = HotStore._write

    def write(self: Any, windows: Any, states: Any) -> None:
        if self.evaluate is not None:
            self.evaluate({window: tier.tier for tier, taken in windows for window in taken})
        evaluate, self.evaluate = self.evaluate, None
        original(self, windows, states)
        self.evaluate = evaluate

    monkeypatch.setattr(HotStore, "_write", write)


def _mutant_deliver_before_the_state_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Evaluator._record

    def record(self: Any, changed: Any) -> None:
        for device in changed:
            _RECEIVERS[-1].got += [one.transition for one in device.alarms.outbox]
        original(self, changed)

    monkeypatch.setattr(Evaluator, "_record", record)


def _mutant_id_from_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1 << 60))
    monkeypatch.setattr("consumers.alerts.transition.transition_id", lambda *_: str(next(ticks)))


def _mutant_forget_windows_of_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was durable before a crash, and not evaluated, stays so."""
    original = HotStore._evaluate

    def evaluate(self: Any, durable: Any) -> None:
        self._repeated.clear()
        original(self, durable)

    monkeypatch.setattr(HotStore, "_evaluate", evaluate)


def _mutant_write_the_state_without_its_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    original = AlarmsCodec.values

    def values(self: Any, item: Any) -> Any:
        states, _, *rest = original(self, item)
        return [states, {"S": "[]"}, *rest]

    monkeypatch.setattr(AlarmsCodec, "values", values)


_RECEIVERS: list[Receiver] = []


@pytest.mark.parametrize(
    "mutant",
    [
        _mutant_evaluate_before_it_is_durable,
        _mutant_deliver_before_the_state_is_written,
        _mutant_id_from_the_clock,
        _mutant_forget_windows_of_duplicates,
        _mutant_write_the_state_without_its_outbox,
    ],
    ids=lambda mutant: mutant.__name__[8:],
)
def test_the_oracle_of_transitions_notices_when_the_code_is_broken(
    mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)

    def noticed(seed: int) -> bool:
        schedule = AlertSchedule(seed, faults=0.15)
        _RECEIVERS.append(schedule.receiver)
        schedule.send_all()
        try:
            schedule.run()
            return schedule.violations() != []
        except (AssertionError, KeyError, StopIteration):
            return True

    assert any(noticed(seed) for seed in range(100))
