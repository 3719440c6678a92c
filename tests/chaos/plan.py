"""What shall go wrong between a worker and AWS: rules, and a seeded choice. Values only."""

from __future__ import annotations

import enum
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Fault(enum.Enum):
    """What becomes of one call."""

    DELAY = "answered late"
    RESET = "connection cut before it was done"
    REPLY_LOST = "done, and the reply cut off"
    ERROR = "500"
    UNAVAILABLE = "503"
    THROTTLE = "throttled as a whole"
    PARTIAL = "done in part, with failures inside the 200"
    CONFLICT = "done in part, with conflicts inside the 200"
    STALE = "answered with what was there before"
    CONFLICT_409 = "409: try again"
    DONE_412 = "done, and answered with 412"


class Call(NamedTuple):
    """A request: ``dynamodb``, ``kinesis``, ``s3`` …, its operation, and the text (body or path)
    that names the resource."""

    service: str
    operation: str
    text: str


@dataclass(frozen=True)
class Rule:
    """``fault`` for the first and then a share (``rate``) of the calls to ``service``, to one of
    its operations if named, about a resource whose name they contain, ``begin_s`` to ``end_s``
    after the plan began. ``seconds`` is how late a delayed answer is; ``times`` bounds how
    often."""

    service: str
    fault: Fault
    operation: str = "*"
    resource: str = ""
    rate: float = 1.0
    begin_s: float = 0.0
    end_s: float = float("inf")
    seconds: float = 0.5
    times: int = 1_000_000

    def is_about(self, call: Call, age_s: float) -> bool:
        """Whether the rule speaks about a call, made ``age_s`` after the plan began."""
        return (
            call.service == self.service
            and self.operation in ("*", call.operation)
            and self.resource in call.text
            and self.begin_s <= age_s < self.end_s
        )


class Plan:
    """Rules in order, and how often each has struck."""

    def __init__(self, rules: Sequence[Rule] = (), seed: int = 0, started: float = 0.0) -> None:
        self._rules = rules
        self._chance = random.Random(seed)
        self._started = started
        self.struck: Counter[Rule] = Counter()

    def decide(self, call: Call, now: float) -> Rule | None:
        """The rule that strikes a call made at ``now`` (monotonic, s)."""
        for rule in self._rules:
            if (
                rule.is_about(call, now - self._started)
                and self.struck[rule] < rule.times
                and (self._chance.random() < rule.rate or not self.struck[rule])
            ):
                self.struck[rule] += 1
                return rule
        return None

    def picks(self, count: int) -> list[bool]:
        """Which of a batch's parts fail: about half, at least one."""
        picked = [self._chance.random() < 0.5 for _ in range(count)]
        picked[self._chance.randrange(count)] = True
        return picked

    def idle(self) -> list[Rule]:
        """Rules that never struck: what they were to show was not shown."""
        return [rule for rule in self._rules if not self.struck[rule]]
