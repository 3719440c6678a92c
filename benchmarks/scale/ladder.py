"""What gives way first: play the day, raise what refused something first, and play it again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.scale.day import Costs, Day
from benchmarks.scale.fleet import Scenario
from benchmarks.scale.quotas import (
    CONNECTIONS,
    CONNECTS,
    PUBLISHES,
    QUOTAS,
    RULES,
    TABLE_READS,
    TABLE_WRITES,
    VCPUS,
    WARM_READS,
    WARM_WRITES,
    Account,
)
from benchmarks.scale.service import VCPU, rule_for
from benchmarks.scale.world import BEHIND_S, play

STORM_S: Final = 600.0
"""In which the whole fleet shall be connected again."""
CATCH_UP_S: Final = 1_800.0
"""In which the backlog of the outage shall be gone."""
HEADROOM: Final = 1.2
EXISTS: Final = (VCPUS, CONNECTIONS, CONNECTS, PUBLISHES, RULES)
"""What the fleet needs to exist at all: the day that is shown by the hour has these."""


def asks(scenario: Scenario, costs: Costs) -> Mapping[str, float]:
    """How much of each quota this fleet should have, in round numbers."""
    outage = scenario.outage[1] - scenario.outage[0]
    connects = scenario.devices / STORM_S
    # The fleet's own rate, each connection's presence, and its spool's message.
    publishes = scenario.rate + 2 * connects
    catching_up = scenario.rate * (1 + outage / CATCH_UP_S)
    writes = max(costs.behind.windows * catching_up, costs.live.windows * scenario.rate)
    reads = max(costs.behind.reads * catching_up, costs.live.reads * scenario.rate)
    tasks = rule_for(scenario).most
    wanted = {
        CONNECTIONS: scenario.devices * HEADROOM,
        CONNECTS: connects * HEADROOM,
        PUBLISHES: publishes * HEADROOM,
        RULES: publishes * HEADROOM,
        VCPUS: tasks * VCPU * HEADROOM,
        WARM_WRITES: writes * HEADROOM,
        WARM_READS: reads * HEADROOM,
        TABLE_WRITES: writes * HEADROOM,
        TABLE_READS: reads * HEADROOM,
    }
    return {name: max(QUOTAS[name].default, _round(value)) for name, value in wanted.items()}


def _round(value: float) -> float:
    """Up, to two digits.

    >>> _round(1_666.7), _round(84.0), _round(120_000.0)
    (1700.0, 84.0, 120000.0)
    """
    step = 10.0 ** max(0, math.floor(math.log10(value)) - 1)
    return math.ceil(value / step - 1e-9) * step


class Rung(NamedTuple):
    """One play: the quota that refused something first, from when (s) and for how long in all (s),
    what it was and what it was raised to, and what the day looked like: the greatest lag (s), hours
    with a lag above 15 s, readings not folded at its end."""

    quota: str
    first_at: float
    seconds: float
    had: float
    ask: float
    lag_s: float
    hours_behind: float
    not_folded: float


def climb(
    scenario: Scenario,
    costs: Costs,
    shards: npt.NDArray[np.int64],
    progress: Callable[[str], None],
) -> tuple[list[Rung], Account]:
    """Play from the defaults on, raise one quota after each play, in the order in which they
    refuse; until nothing that can be raised refuses. Returns the rungs, and the last account."""
    wanted = asks(scenario, costs)
    account = Account()
    rungs: list[Rung] = []
    while True:
        progress(f"play {len(rungs) + 1}: {', '.join(account.raised) or 'the defaults'}")
        day = play(scenario, account, costs, shards)
        left = {
            name: one
            for name, one in day.refusals.of.items()
            if name not in account.raised and wanted.get(name, 0) > account[name]
        }
        if not left:
            return rungs, account
        name = min(left, key=lambda one: (left[one].first_at, -left[one].share))
        found = left[name]
        rungs.append(
            Rung(
                name, found.first_at, found.steps * scenario.step_s, account[name],
                wanted[name], *outcome(day),
            )
        )  # fmt: skip
        account = account.with_raised({name: wanted[name]})


def outcome(day: Day) -> tuple[float, float, float]:
    """Greatest lag (s), hours in which it was above 15 s, and readings made and not folded."""
    lag = day.column("lag_s")
    hours = float((lag >= BEHIND_S).sum()) * day.scenario.step_s / 3600
    left = max(0.0, day.readings["made"] - day.readings["folded"])
    return float(lag.max()), hours, left
