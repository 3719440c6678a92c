"""Several calls of a service in flight at once.

A call of DynamoDB takes 5–40 ms on AWS, and most of that is waiting. :class:`InFlight` runs calls
in threads; the caller submits them and takes their results one by one, so that everything but the
call itself happens in one thread and needs no lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

Call = Callable[[], Any]


class Calls(Protocol):
    """Runs calls, up to ``limit`` at once."""

    limit: int

    @property
    def waiting(self) -> int:
        """How many were submitted whose result was not taken yet."""

    def submit(self, call: Call) -> None:
        """Run the call, soon."""

    def result(self) -> Any:
        """Wait for one of the submitted calls, whichever; return what it returned or raise what
        it raised."""


class OneAtATime:
    """Runs each call when it is submitted: no thread, one call in flight."""

    limit = 1

    def __init__(self) -> None:
        self._results: deque[Any] = deque()

    @property
    def waiting(self) -> int:
        return len(self._results)

    def submit(self, call: Call) -> None:
        """See :class:`Calls`; an exception is raised here."""
        self._results.append(call())

    def result(self) -> Any:
        """See :class:`Calls`."""
        return self._results.popleft()


class InFlight:
    """Up to ``limit`` calls at once, each in a thread of its own.

    Threads start with the first calls, so a process that is to be forked has none; they are
    daemons, so they never keep a process alive.

    >>> calls = InFlight(2)
    >>> for number in (1, 2): calls.submit(lambda n=number: n * n)
    >>> sorted([calls.result(), calls.result()])
    [1, 4]
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting = 0
        self._threads = 0
        self._submitted: SimpleQueue[Call] = SimpleQueue()
        self._ended: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def submit(self, call: Call) -> None:
        """See :class:`Calls`."""
        self.waiting += 1
        if self._threads < min(self.limit, self.waiting):
            self._threads += 1
            threading.Thread(target=self._work, daemon=True).start()
        self._submitted.put(call)

    def result(self) -> Any:
        """See :class:`Calls`."""
        value, error = self._ended.get()
        self.waiting -= 1
        if error is not None:
            raise error
        return value

    def _work(self) -> None:
        while True:
            call = self._submitted.get()
            try:
                self._ended.put((call(), None))
            except BaseException as error:  # noqa: BLE001  # raised again by whoever takes it
                self._ended.put((None, error))
