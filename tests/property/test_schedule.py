"""A device's schedule: how many messages a fleet's phases ask for, and when."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.load.schedule import due_times
from simulator.scenario import Fleet, Phase, steady_fleet

PHASES = st.lists(
    st.builds(
        Phase,
        seconds=st.floats(0.5, 50),
        rate=st.floats(0, 20),
        kind=st.sampled_from(["steady", "ramp", "spike", "soak"]),
    ),
    min_size=1,
    max_size=4,
)


@given(phases=PHASES, seed=st.integers(0, 1000), jitter=st.floats(0, 1))
def test_as_many_messages_are_due_as_the_rates_add_up_to(
    phases: list[Phase], seed: int, jitter: float
) -> None:
    fleet = Fleet("f", 1, phases, jitter=jitter)
    due = list(due_times(fleet, random.Random(seed)))
    steps = [fleet.seconds * (i + 0.5) / 2_000 for i in range(2_000)]
    total = sum(map(fleet.rate, steps)) * fleet.seconds / 2_000
    assert abs(len(due) - total) <= 1 + 0.02 * total
    assert all(0 <= at <= fleet.seconds for at in due)


@pytest.mark.parametrize("seed", range(20))
def test_a_steady_rate_has_exactly_its_messages_whatever_chance_says(seed: int) -> None:
    fleet = steady_fleet(1, rate=5, seconds=4)
    assert len(list(due_times(fleet, random.Random(seed)))) == 20


def test_without_jitter_messages_are_due_at_even_intervals() -> None:
    fleet = Fleet("f", 1, [Phase(seconds=10, rate=2)], jitter=0)
    due = list(due_times(fleet, random.Random(3)))
    assert [b - a for a, b in pairwise(due)] == pytest.approx([0.5] * 19)


def test_a_process_that_starts_later_leaves_out_what_was_due_before() -> None:
    fleet = steady_fleet(1, rate=5, seconds=4)
    whole = list(due_times(fleet, random.Random(3)))
    assert list(due_times(fleet, random.Random(3), since=2.0)) == [at for at in whole if at >= 2.0]
