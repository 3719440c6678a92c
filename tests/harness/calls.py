"""Calls in flight without threads, in an order that a seed decides."""

from __future__ import annotations

import random
from typing import Any

from consumers.aws.in_flight import Call


class ShuffledCalls:
    """:class:`consumers.aws.in_flight.Calls`: of the calls submitted, any is applied
    next, and of those applied, any is answered next. What threads can do to the order of calls, in
    one thread and by a seed; a process that dies leaves some applied and some not."""

    def __init__(self, limit: int, chance: random.Random) -> None:
        self.limit = limit
        self._chance = chance
        self._submitted: list[Call] = []
        self._applied: list[tuple[Any, Exception | None]] = []

    @property
    def waiting(self) -> int:
        return len(self._submitted) + len(self._applied)

    def submit(self, call: Call) -> None:
        self._submitted.append(call)

    def result(self) -> Any:
        while self._submitted and (not self._applied or self._chance.random() < 0.5):
            call = self._submitted.pop(self._chance.randrange(len(self._submitted)))
            try:
                self._applied.append((call(), None))
            except Exception as error:
                self._applied.append((None, error))
        value, raised = self._applied.pop(self._chance.randrange(len(self._applied)))
        if raised is not None:
            raise raised
        return value
