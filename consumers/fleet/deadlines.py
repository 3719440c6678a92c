"""The time at which each device must be looked at next. Pure."""

from __future__ import annotations

from heapq import heappop, heappush


class Deadlines:
    """A time (ms) a name, the soonest first. A name that is put off again and again stays one entry
    of the heap: it is moved when its first time has come.

    >>> deadlines = Deadlines()
    >>> deadlines.set("pump-1", 10)
    >>> deadlines.set("pump-1", 20)
    >>> deadlines.take(15, most=5), deadlines.take(20, most=5)
    ([], ['pump-1'])
    """

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._due)

    def set(self, name: str, due: int) -> None:
        """Look at a name then, and not when it was said before."""
        before = self._due.get(name)
        self._due[name] = due
        if before is None or due < before:
            heappush(self._heap, (due, name))

    def forget(self, name: str) -> None:
        """Do not look at a name any more."""
        self._due.pop(name, None)

    def take(self, now: int, most: int) -> list[str]:
        """Remove and return up to ``most`` names whose time has come."""
        taken: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(taken) < most:
            at, name = heappop(self._heap)
            due = self._due.get(name)
            if due is None:
                continue
            if due <= now:
                del self._due[name]
                taken.append(name)
            elif due > at:
                heappush(self._heap, (due, name))
        return taken
