"""The oracle of transitions and the back-test, which share no code, agree on any archive."""

from __future__ import annotations

import random
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.alerts.rule_file import parse_rules
from consumers.alerts.rules import Rule
from lake.backtest import backtest
from lake.backtest.backtest import Backtest, Backtester
from lake.replay.rows import Selection
from simulator.verification import oracle
from simulator.verification.observe import rows_of
from simulator.verification.oracle import Sent
from simulator.verification.transitions import Transition, must_stand
from simulator.verification.watches import Watch, watch_of
from tests.harness.replayed import Pipeline
from tests.harness.shard import TIERS

EVERYTHING = Selection(0, 1 << 50)
STATISTICS = ("mean", "min", "max", "first", "last", "sum", "stddev", "change", "n", "share_true")


def rule_text(chance: random.Random) -> str:
    """Any rule on the pipeline's only metric."""
    joint = chance.choice([" and ", " or "])

    def condition() -> str:
        return joint.join(
            f"{chance.choice(STATISTICS)}(a) {chance.choice(['>', '>=', '<', '<='])} "
            f"{chance.uniform(-8, 8):.6f}"
            for _ in range(chance.randint(1, 2))
        )

    of = chance.randint(1, 3)
    lines = ["[[rule]]", 'name = "any"', f'tier = "{chance.choice(["10s", "1m"])}"',
             f'when = "{condition()}"', f'for = "{chance.randint(1, of)} of {of}"',
             f"clear_for = {chance.randint(1, 3)}"]  # fmt: skip
    if chance.random() < 0.5:
        lines.append(f'clear = "{condition()}"')
    if chance.random() < 0.3:
        lines.append('devices = ["dev-a", "dev-c*"]')
    return "\n".join(lines)


def taken(pipeline: Pipeline) -> list[Sent]:
    """The readings of an archive, in its order, those that came twice once."""
    found: dict[tuple[str, str, int], Sent] = {}
    for _, (body, _) in sorted(pipeline.s3.objects.items()):
        for row in rows_of(body):
            if row.disposition == "ok":
                key = (row.device_id or "", row.boot or "", row.seq or 0)
                before = found[key].received_at if key in found else ()
                received = (*before, row.received_at or 0)
                found[key] = Sent(*key, row.ts or 0, row.metrics or {}, received)
    return list(found.values())


def back_tested(pipeline: Pipeline, rule: Rule) -> Backtest:
    tester = Backtester(pipeline.source(), {tier.name: tier for tier in TIERS})
    return tester.run(rule, EVERYTHING._replace(end=1 << 42))


def expected(pipeline: Pipeline, watch: Watch) -> set[Transition]:
    windows = oracle.windows(taken(pipeline), oracle.Rules(TIERS, 600))
    return must_stand(windows, [watch], TIERS)


def told(result: Backtest) -> set[Transition]:
    return {Transition(one.rule, one.device, one.window, one.kind) for one in result.transitions}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_a_back_test_tells_what_the_oracle_says_must_stand(seed: int) -> None:
    pipeline, chance = Pipeline(seed), random.Random(seed)
    pipeline.send(80)
    pipeline.work()
    for _ in range(4):
        text = rule_text(chance)
        (entry,) = tomllib.loads(text)["rule"]
        (_, _, rule), *_ = parse_rules(text)
        assert told(back_tested(pipeline, rule)) == expected(pipeline, watch_of(entry)), text


def test_devices_in_parts_give_the_same_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(5)
    pipeline.send(200)
    pipeline.work()
    ((_, _, rule),) = parse_rules('[[rule]]\nname = "x"\ntier = "10s"\nwhen = "mean(a) > 1"\n')
    whole = back_tested(pipeline, rule)
    monkeypatch.setattr(backtest, "WINDOWS_AT_ONCE", 1)
    parts = back_tested(pipeline, rule)
    assert whole.transitions == parts.transitions != []
    assert whole.readings == parts.readings


def test_only_devices_that_can_be_met_are_folded() -> None:
    pipeline = Pipeline(7)
    pipeline.send(200)
    pipeline.work()

    def folded(when: str) -> tuple[int, int]:
        ((_, _, rule),) = parse_rules(f'[[rule]]\nname = "x"\ntier = "10s"\nwhen = "{when}"\n')
        found = back_tested(pipeline, rule)
        return found.folded, found.readings

    assert folded("max(a) > 9") == (0, 0)
    assert folded("mean(b) > 0") == (0, 0)
    assert folded("max(a) > 9 or min(a) < 0")[0] == 3
    assert folded("max(a) > 9 and n() > 0") == (0, 0)
    assert folded("n() > 1000")[0] == 3
