"""The channel between a shard's process and its daemon: lines in, lines out, checkpoints between.

With a journal (:mod:`consumers.shard.journal`) the process can be the successor of one that died:
it first repeats what the daemon has its answers to, and then answers what is open.
"""

from __future__ import annotations

import io
import select
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple

from consumers.aws.backoff import Backoff
from consumers.exceptions import ProtocolError
from consumers.kcl.position import Position
from consumers.kcl.protocol import Action, checkpoint_line, parse, status_line
from consumers.shard.journal import Journal
from consumers.shard.report import Activity

IDLE_S: Final = 0.5
_CHECKPOINT: Final = "checkpoint"
_RETRIED: Final = frozenset({"ThrottlingException", "KinesisClientLibDependencyException"})
_LOST: Final = frozenset({"ShutdownException"})


class Turn(NamedTuple):
    """An action of the daemon. ``answered``: a predecessor of this process has answered it."""

    action: Action
    answered: bool = False


class Pipe:
    """The channel to the daemon."""

    def __init__(
        self,
        source: io.BufferedIOBase | BinaryIO,
        sink: BinaryIO,
        backoff: Callable[[], Backoff] = Backoff,
        activity: Activity | None = None,
        journal: Journal | None = None,
    ) -> None:
        """With a ``journal`` lines are read from that; ``source`` tells whether there are any."""
        self._activity = activity or Activity()
        self._source = source
        self._sink = sink
        self._backoff = backoff
        self._journal = journal
        self._stale = journal.asked if journal is not None else 0
        self._asked = journal.asked_position if journal is not None else None
        self.on_idle: Callable[[], None] | None = None
        """What is done when the daemon has sent nothing for a while."""

    def turns(self) -> Iterator[Turn]:
        """The daemon's actions until its input ends, those of a predecessor first."""
        journal = self._journal
        if journal is not None:
            yield from self._repeated(journal)
        while (line := self._next_line(self.on_idle)) is not None:
            action = parse(line)
            if action.action == _CHECKPOINT and self._skip_stale():
                continue
            if journal is not None:
                journal.begin(line)
            yield Turn(action)

    def _repeated(self, journal: Journal) -> Iterator[Turn]:
        if line := journal.initialize_line():
            yield Turn(parse(line), answered=True)
        for line in journal.answered_lines():
            if line.strip() and (action := parse(line)).action not in (_CHECKPOINT, "initialize"):
                yield Turn(action, answered=True)
        for line, at in journal.open_lines():
            if line.strip() and (action := parse(line)).action != _CHECKPOINT:
                journal.begin(line + b"\n", at)
                self._activity.began(time.monotonic())
                yield Turn(action)
                return  # what follows are answers to the predecessor's checkpoint requests

    def answer(self, action: str, *, covered: bool) -> None:
        """Tell the daemon that an action is done; ``covered``: a checkpoint covers all of it."""
        if self._journal is None:
            self.write(status_line(action))
        else:
            self._journal.answer()
            self.write(status_line(action))
            self._journal.answered(covered=covered)

    @property
    def place(self) -> int:
        """See :class:`consumers.shard.processor.Checkpointer`: an offset in the journal."""
        return 0 if self._journal is None else self._journal.action_at

    def checkpoint(self, position: Position | None, place: int | None = None) -> bool:
        """See :class:`consumers.shard.processor.Checkpointer`.

        :raises ProtocolError: when the daemon refuses for a reason that no retry mends.
        """
        if position is not None and self._asked is not None and position < self._asked:
            return True  # a predecessor was further; the KCL refuses to go back
        backoff = self._backoff()
        while True:
            if self._journal is not None:
                self._journal.ask(position)
            self.write(checkpoint_line(position))
            answer = self._answer_for(position)
            if not answer.error:
                if self._journal is not None:
                    self._journal.checkpointed(self.place if place is None else place)
                return True
            if answer.error in _LOST:
                return False
            if answer.error not in _RETRIED:
                raise ProtocolError(f"the KCL refuses a checkpoint at {position}: {answer.error}")
            backoff.wait(f"the KCL keeps refusing a checkpoint: {answer.error}")

    def _answer_for(self, position: Position | None) -> Action:
        """The answer to a checkpoint request. An answer for another position is one that a
        predecessor asked for; one for the same position says the same."""
        while True:
            line = self._next_line(None)
            answer = None if line is None else parse(line)
            if answer is None or answer.action != _CHECKPOINT:
                raise ProtocolError(f"the daemon answered a checkpoint with {answer!r:.200}")
            if _is_for(answer, position) or not self._skip_stale():
                if self._journal is not None:
                    self._journal.hear()
                return answer

    def _skip_stale(self) -> bool:
        """Take an answer for one to a predecessor; ``False`` when none of these can come."""
        if not self._stale or self._journal is None:
            return False
        self._stale -= 1
        self._journal.hear()
        return True

    def _next_line(self, on_idle: Callable[[], None] | None) -> bytes | None:
        """The next line that is not blank; ``None`` at the end of input."""
        self._activity.ended(time.monotonic())
        if on_idle is not None and not (self._journal is not None and self._journal.has_read_ahead):
            self._await_input(on_idle)
        read = self._source.readline if self._journal is None else self._journal.read_line
        while line := read():
            if line.strip():
                self._activity.began(time.monotonic())
                return line
        return None

    def _await_input(self, on_idle: Callable[[], None]) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        while not poll.poll(IDLE_S * 1000):
            on_idle()

    def write(self, line: bytes) -> None:
        """Send one line, now."""
        self._sink.write(line)
        self._sink.flush()


def _is_for(answer: Action, position: Position | None) -> bool:
    asked = (None, None) if position is None else (position.sequence, position.sub)
    return (answer.sequence_number, answer.sub_sequence_number) == asked
