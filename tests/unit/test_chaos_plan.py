"""The plan of what goes wrong: seeded, about the calls it names, in the time it names."""

from __future__ import annotations

from tests.chaos.plan import Call, Fault, Plan, Rule

WRITE = Call("dynamodb", "BatchExecuteStatement", '{"Statements": [{"Statement": "x-windows"}]}')
READ = Call("dynamodb", "BatchGetItem", "{}")


def test_a_rule_strikes_only_the_calls_it_names() -> None:
    plan = Plan([Rule("dynamodb", Fault.ERROR, "BatchExecuteStatement", "windows")])
    assert plan.decide(WRITE, 0) is not None
    assert plan.decide(READ, 0) is None
    assert plan.decide(WRITE._replace(text="devices"), 0) is None
    assert plan.decide(Call("s3", "PutObject", "windows"), 0) is None


def test_a_rule_strikes_only_in_its_time_and_as_often_as_it_may() -> None:
    plan = Plan([Rule("dynamodb", Fault.ERROR, begin_s=1, end_s=5, times=2)], started=100)
    struck = [plan.decide(READ, 100 + age) is not None for age in (0, 1, 2, 3, 6)]
    assert struck == [False, True, True, False, False]


def test_the_same_seed_strikes_the_same_calls() -> None:
    def struck(seed: int) -> list[bool]:
        plan = Plan([Rule("dynamodb", Fault.ERROR, rate=0.5)], seed)
        return [plan.decide(READ, 0) is not None for _ in range(50)]

    assert struck(1) == struck(1) != struck(2)


def test_a_rule_that_never_struck_is_named() -> None:
    never = Rule("s3", Fault.ERROR)
    plan = Plan([never, Rule("dynamodb", Fault.ERROR)])
    plan.decide(READ, 0)
    assert plan.idle() == [never]


def test_at_least_one_part_of_a_batch_fails() -> None:
    plan = Plan(seed=3)
    assert all(any(plan.picks(n)) for n in (1, 2, 25) for _ in range(50))
