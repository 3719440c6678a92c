"""The steps of a proof, in order, and which one is next. Pure.

A step counts as done when its result is on the disk. One that was broken off is done again from its
beginning, so each step can be repeated.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final


class Step(StrEnum):
    """One step; the values are what the file of a run holds."""

    PREFLIGHT = "preflight"
    DEPLOY = "deploy"
    FLEET = "fleet"
    LOAD = "load"
    VERIFY = "verify"
    PRICE = "price"
    DESTROY = "destroy"
    INSPECT = "inspect"
    REPORT = "report"


LABELS: Final = {
    Step.PREFLIGHT: "account, names and machine are checked",
    Step.DEPLOY: "a stack of its own is deployed",
    Step.FLEET: "devices have their certificates",
    Step.LOAD: "load and faults are over, and every shard is at work",
    Step.VERIFY: "every reading is compared",
    Step.PRICE: "the run is priced",
    Step.DESTROY: "the stack, its devices and its data are removed",
    Step.INSPECT: "the account is searched for what is left",
    Step.REPORT: "the report is signed and written",
}
"""What a person reads when a step has ended."""

ORDER: Final = tuple(Step)
REMOVAL: Final = (Step.DESTROY, Step.INSPECT)
NEEDS_WORKER: Final = frozenset({Step.LOAD, Step.VERIFY})
"""Steps during which a worker runs: what devices send is folded, and drained."""


def next_step(done: Collection[str]) -> Step | None:
    """The first step that is not done; ``None`` when all are.

    >>> next_step({"preflight"})
    <Step.DEPLOY: 'deploy'>
    """
    return next((step for step in ORDER if step not in done), None)


def next_removal(begun: Collection[str], done: Collection[str]) -> Step | None:
    """What is next when a run is to be taken away and not to be finished; ``None`` when nothing of
    it can be in the account. A deployment that began may have made something."""
    if Step.DEPLOY not in begun:
        return None
    return next((step for step in REMOVAL if step not in done), None)
