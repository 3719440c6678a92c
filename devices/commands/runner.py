"""Runs a device's commands: each once, in the order in which they were sent, on any number of
deliveries.

The shadow tells of a command as often as it likes. The id is in the journal before the handler is
called, and the outcome before it is reported, so a repeat is answered with the same outcome, in
this run of the program or another. Whether a command may begin is decided by its own deadline and
AWS IoT's clock, which each document tells, and not by the device's: one that is wrong can neither
revive a command nor expire it.

Promised: a handler is called at most once for an id, and not after its deadline. Not promised: that
a command that the program died in has taken effect; it is answered ``FAILED``.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from devices.commands.decide import Answer, Facts, Run, Withdraw, decide, expired, in_order
from devices.commands.journal import FILE, Journal
from devices.errors import CommandRejectedError, StorageError
from devices.events import CommandEnded, Failed, OnEvent
from devices.files import why_refused
from ingest.commands.command import Command, Outcome, as_sent, cut, entry_of
from ingest.commands.document import KEY, answering, merged

PROGRESS_S: Final = 1.0
"""A command that takes longer (s) is reported as in progress."""

Handler = Callable[[Command], object]
"""Does a command. What it returns is reported as text. A coroutine function is awaited on the event
loop; any other is called on a thread, so it may block.

:raises CommandRejectedError: to refuse a command; any other exception makes it ``FAILED``.
"""


def _passed_ms() -> int:
    """A clock that goes on while the machine sleeps, where it has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1_000_000


class CommandRunner:
    """The commands of one run of a device. Not thread-safe: every method runs on the event loop."""

    def __init__(
        self,
        folder: Path,
        *,
        publish: Callable[[Mapping[str, Any]], None],
        now_ms: Callable[[], int],
        on_event: OnEvent,
        passed_ms: Callable[[], int] = _passed_ms,
    ) -> None:
        """``publish`` sends a change of the shadow's state. ``now_ms`` is the device's clock, for
        as long as AWS IoT has not told its own; ``passed_ms`` is one that nobody sets.
        ``on_event`` receives :class:`~devices.events.CommandEnded`, and
        :class:`~devices.events.Failed` when the disk refuses."""
        self._path = folder / FILE
        self._publish = publish
        self._now_ms = now_ms
        self._passed_ms = passed_ms
        self._on_event = on_event
        self.answered = 0
        """Answers that were sent."""
        self._handler: Handler | None = None
        self._journal: Journal | None = None
        self._waiting: dict[str, Any] = {}
        self._listed: frozenset[str] = frozenset()
        self._reported: dict[str, Any] | None = None
        self._outgoing: dict[str, Any] = {}
        self._queue: dict[str, Command] = {}
        self._running = ""
        self._ahead_ms: int | None = None
        self._work: asyncio.Task[None] | None = None
        self._closed = False

    def on_command(self, handler: Handler) -> None:
        """Do commands with this handler, also those that wait already."""
        self._handler = handler
        self._decide_all()

    def on_document(
        self, waiting: Mapping[str, Any], reported: Mapping[str, Any], broker_ms: int
    ) -> None:
        """The shadow as a whole: the commands that wait, and what was reported of others."""
        self._reported = dict(reported)
        self._waiting = dict(waiting)
        self._listed = frozenset(waiting)
        self._set_clock(broker_ms)
        self._decide_all()
        self._forget({*waiting, *self._queue, self._running})

    def on_delta(self, waiting: Mapping[str, Any], broker_ms: int) -> None:
        """Commands that wait, some of them new. Before the first document they are passed over:
        the document has them too, and what was reported of them."""
        self._set_clock(broker_ms)
        if self._reported is not None:
            self._waiting = {**waiting, **self._waiting}
            self._decide_all()

    async def close(self) -> None:
        """Let the handler that runs come to its end, and begin no other."""
        self._closed = True
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    # -- deciding ----------------------------------------------------------------------------

    def _now(self) -> int:
        ahead = self._ahead_ms
        now = self._now_ms() if ahead is None else ahead + self._passed_ms()
        return max(now, self._journal.clock_ms) if self._journal else now

    def _set_clock(self, broker_ms: int) -> None:
        """AWS IoT's clock, as a message tells it in whole seconds: the end of that second is taken,
        so that nothing begins after its deadline. Messages take time, so the latest is right."""
        if broker_ms:
            ahead = broker_ms + 999 - self._passed_ms()
            self._ahead_ms = ahead if self._ahead_ms is None else max(ahead, self._ahead_ms)

    def _decide_all(self) -> None:
        if not self._waiting or self._reported is None or self._closed:
            return
        try:
            if self._journal is None:
                self._journal = Journal(self._path, self._now())
            for id_ in in_order(self._waiting):
                if id_ not in self._queue and id_ != self._running:
                    self._decide(self._journal, id_)
        except sqlite3.Error as error:
            self._on_refused(error)
        self._send()
        if self._queue and self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._run_all())

    def _decide(self, journal: Journal, id_: str) -> None:
        assert self._reported is not None
        waiting, now = self._waiting[id_], self._now()
        facts = Facts(
            now, journal.outcome(id_), self._reported.get(id_), journal.lost_ms,
            self._handler is not None, journal.has_room, id_ in self._listed,
        )  # fmt: skip
        match decide(id_, waiting, facts):
            case Run(command):
                self._queue[id_] = command
            case Answer(outcome, until, keep):
                if keep:
                    journal.end(id_, until, outcome)
                self._answer(id_, waiting, outcome)
            case Withdraw():
                del self._waiting[id_]
                self._change({"desired": {KEY: {id_: None}}})

    def _forget(self, waiting: set[str]) -> None:
        """Only after a document, which has every command that still waits. One that was answered
        just now waits too: the answer may be lost."""
        if self._journal is not None and self._ahead_ms is not None:
            try:
                self._journal.forget(self._now(), waiting)
            except sqlite3.Error as error:
                self._on_refused(error)

    def _answer(self, id_: str, waiting: Any, outcome: Outcome) -> None:
        """Report an outcome; the command waits no more."""
        assert self._reported is not None
        self._waiting.pop(id_, None)
        state = answering(self._reported, id_, entry_of(waiting, outcome))
        self._reported = merged(self._reported, state)
        self.answered += 1
        self._change(state)

    def _change(self, state: Mapping[str, Any]) -> None:
        """What is decided together is one update: AWS IoT takes ten at a time of a connection."""
        for half, commands in state.items():
            self._outgoing.setdefault(half, {KEY: {}})[KEY].update(commands[KEY])

    def _send(self) -> None:
        outgoing, self._outgoing = self._outgoing, {}
        if outgoing:
            self._publish(outgoing)

    def _on_refused(self, error: sqlite3.Error) -> None:
        """What is not in the journal is not begun: it waits in the shadow."""
        why = why_refused(self._path, error)
        self._on_event(Failed(StorageError(f"{self._path} does not record a command: {why}")))

    # -- doing -------------------------------------------------------------------------------

    async def _run_all(self) -> None:
        try:
            while self._queue and not self._closed:
                self._running = next(iter(self._queue))
                await self._run(self._running, self._queue.pop(self._running))
                self._running = ""
        finally:
            self._running = ""
            self._work = None

    async def _run(self, id_: str, command: Command) -> None:
        assert self._journal is not None
        assert self._handler is not None
        journal, waiting = self._journal, self._waiting.get(id_, as_sent(command))
        try:
            if self._now() > command.until:
                outcome = expired(command, self._now())
            else:
                journal.begin(id_, command.until)
                outcome = await self._done(id_, command, waiting, self._handler)
        except sqlite3.Error as error:
            self._on_refused(error)
            return
        try:
            journal.end(id_, command.until, outcome)
        except sqlite3.Error as error:  # it has been done: the answer says so
            self._on_refused(error)
        self._answer(id_, waiting, outcome)
        self._send()
        self._on_event(CommandEnded(id_, command.name, outcome.status, outcome.detail))

    async def _done(self, id_: str, command: Command, waiting: Any, handler: Handler) -> Outcome:
        """Call the handler; it is reported as in progress when it takes long."""
        task = asyncio.ensure_future(_call(handler, command))
        await asyncio.wait([task], timeout=PROGRESS_S)
        if not task.done():
            entry = entry_of(waiting, Outcome("IN_PROGRESS", self._now()))
            self._publish({"reported": {KEY: {id_: entry}}})
        try:
            returned = await task
        except CommandRejectedError as error:
            return Outcome("REJECTED", self._now(), cut(str(error)))
        except Exception as error:  # noqa: BLE001 - it is the command's outcome
            return Outcome("FAILED", self._now(), cut(f"{type(error).__name__}: {error}"))
        return Outcome("SUCCEEDED", self._now(), cut(_text(returned)))


async def _call(handler: Handler, command: Command) -> object:
    if inspect.iscoroutinefunction(handler):
        found: object = await handler(command)
        return found
    return await asyncio.to_thread(handler, command)


def _text(returned: object) -> str:
    """What a handler returned, as text."""
    if returned is None or isinstance(returned, str):
        return returned or ""
    return json.dumps(returned, default=str)
