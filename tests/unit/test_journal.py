"""A successor goes on where a process of its shard was killed, wherever that was: the daemon gets
each answer once, and no record is forgotten."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers.aws.backoff import Backoff
from consumers.kcl.position import position
from consumers.kcl.protocol import StreamRecord
from consumers.shard import child, journal
from consumers.shard.journal import PAGE, Journal
from consumers.shard.pipe import Pipe

BATCHES = ((0, 1), (2,), (), (3, 4, 5), (6,), (), (7, 8))
CHECKPOINTS = {2, 4, 7}
"""Batches (by their last record) in whose middle a checkpoint is asked for."""


class Killed(BaseException):
    """SIGKILL."""


class Daemon(threading.Thread):
    """The daemon's side: sends actions, answers checkpoint requests, and writes down every line."""

    def __init__(self, send: int, receive: int) -> None:
        super().__init__(daemon=True)
        self._send, self._lines = send, os.fdopen(receive, "rb")
        self.answers: list[str] = []
        self.checkpoints: list[int] = []

    def run(self) -> None:
        with contextlib.suppress(BrokenPipeError), self._lines:  # a process without a successor
            self._live()
        os.close(self._send)

    def _live(self) -> None:
        self._act({"action": "initialize", "shardId": "s-0"})
        for batch in BATCHES:
            records = [{"data": "", "sequenceNumber": str(n)} for n in batch]
            self._act({"action": "processRecords", "records": records})
        self._act({"action": "shutdownRequested"})

    def _act(self, action: dict[str, Any]) -> None:
        self._write(action)
        for line in self._lines:
            if not line.strip():
                continue
            said = msgspec.json.decode(line)
            if said["action"] == "status":
                self.answers.append(said["responseFor"])
                return
            self.checkpoints.append(int(said["sequenceNumber"]))
            self._write({**said, "error": None})

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._send, msgspec.json.encode(line) + b"\n")


class Processor:
    """A shard's processor: remembers what it got, and checkpoints in the middle of some batches, up
    to where it was ``lag`` records ago."""

    lag = 0

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.lease_lost = False
        self.seen: list[int] = []
        self.places: list[int] = []
        self.covered = -1
        self.uncommitted_since = None

    def process(self, records: list[StreamRecord], *, may_checkpoint: bool = True) -> None:
        for record in records:
            number = int(record.sequence_number)
            self.seen.append(number)
            self.places.append(self._pipe.place)
            if number in CHECKPOINTS and may_checkpoint:
                self._checkpoint(self.lag)

    def _checkpoint(self, lag: int = 0) -> None:
        if lag < len(self.seen):
            at, place = self.seen[-1 - lag], self.places[-1 - lag]
            assert self._pipe.checkpoint(position(str(at), 0), place)
            self.covered = max(at, self.covered)

    def shut_down(self) -> None:
        if self.seen and self.seen[-1] != self.covered:
            self._checkpoint()

    @property
    def is_covered(self) -> bool:
        return not self.seen or self.covered == self.seen[-1]


class Stats:
    """Takes what a child tells."""

    def __init__(self) -> None:
        self.report = child.ShardStats("s-0", lambda: 0, lambda line: None).report

    def on_batch_done(self, *_: object) -> None: ...

    def send_due(self, *_: object, **__: object) -> None: ...


class Calls:
    """The system calls of a process. One of them it does not survive: it is killed before it, or
    right after it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.fatal, self.after, self.count = -1, False, 0
        for name in ("pwrite", "splice", "ftruncate"):
            patch.setattr(journal.os, name, self._deadly(getattr(os, name)))

    def _deadly(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self.fatal and not self.after:
                raise Killed
            result = call(*arguments, **named)
            if self.count == self.fatal:
                raise Killed
            return result

        return made

    def sink(self, descriptor: int) -> Any:
        calls = self

        class Sink:
            def write(self, line: bytes) -> int:
                return int(calls._deadly(os.write)(descriptor, line))

            def flush(self) -> None: ...

        return Sink()


class Run:
    """One shard's life, with successors."""

    def __init__(self, folder: Path, calls: Calls) -> None:
        self._folder, self._calls = folder, calls
        self.processors: list[Processor] = []
        self.ambiguous = False
        self.covered_before: list[int] = []
        to_child, self._send = os.pipe()
        receive, self._from_child = os.pipe()
        self._source = to_child
        self.daemon = Daemon(self._send, receive)

    def go(self) -> None:
        descriptor = journal.create(self._folder)
        self.daemon.start()
        try:
            while not self._life(descriptor):
                self.ambiguous = not journal.can_be_continued(descriptor)
                if self.ambiguous:
                    return
            self.daemon.join(10)
        finally:
            for one in (descriptor, self._source, self._from_child):
                os.close(one)
            self.daemon.join(10)

    def _life(self, descriptor: int) -> bool:
        try:
            kept = Journal(descriptor, pipe=self._source)
            sink = self._calls.sink(self._from_child)
            pipe = Pipe(open(self._source, "rb", closefd=False), sink, Backoff, None, kept)  # noqa: SIM115
            child.serve(pipe, lambda shard: self._open(pipe))
        except Killed:
            return False
        return True

    def _open(self, pipe: Pipe) -> Any:
        self.covered_before = list(self.daemon.checkpoints)
        self.processors.append(Processor(pipe))
        return self.processors[-1], Stats()


@pytest.fixture
def calls() -> Iterator[Calls]:
    with pytest.MonkeyPatch.context() as patch:
        yield Calls(patch)


def run(folder: Path, calls: Calls, fatal: int, *, after: bool) -> Run:
    calls.fatal, calls.after, calls.count = fatal, after, 0
    made = Run(folder, calls)
    made.go()
    return made


def check(made: Run) -> None:
    """Each action has one answer, checkpoints never go back, and no record was forgotten."""
    assert made.daemon.answers == [
        "initialize",
        *["processRecords"] * len(BATCHES),
        "shutdownRequested",
    ]
    assert made.daemon.checkpoints == sorted(made.daemon.checkpoints)
    assert made.daemon.checkpoints[-1] == 8
    last = made.processors[-1]
    first = last.seen[0] if last.seen else 9
    assert last.seen == list(range(first, 9))
    assert first <= max(made.covered_before, default=-1) + 1


def test_a_process_that_is_never_killed_answers_each_action_once(
    tmp_path: Path, calls: Calls
) -> None:
    made = run(tmp_path, calls, -1, after=False)
    check(made)
    assert len(made.processors) == 1


@pytest.mark.parametrize("lag", [0, 1, 3])
@pytest.mark.parametrize("after", [False, True])
def test_wherever_a_process_is_killed_its_successor_goes_on(
    tmp_path: Path, calls: Calls, after: bool, lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the checkpoint lags behind what was archived, and was asked for actions ago."""
    monkeypatch.setattr(Processor, "lag", lag)
    total = 0
    run(tmp_path, calls, -1, after=False)
    total = calls.count
    assert total > 50
    ambiguous = 0
    for fatal in range(3, total + 1):  # the first two make the journal
        made = run(tmp_path, calls, fatal, after=after)
        if made.ambiguous:
            ambiguous += 1
        else:
            check(made)
    assert ambiguous < total / 3


def test_a_journal_without_uncovered_lines_takes_no_room(tmp_path: Path) -> None:
    descriptor = journal.create(tmp_path)
    source, sink = os.pipe()
    kept = Journal(descriptor, pipe=source)
    for number in range(50):
        os.write(sink, b'{"action":"processRecords","n":%d}\n' % number)
        kept.begin(kept.read_line())
        kept.answer()
        kept.answered(covered=number % 10 == 9)
        assert os.fstat(descriptor).st_size <= PAGE + 500
    assert os.fstat(descriptor).st_size == PAGE
    for one in (descriptor, source, sink):
        os.close(one)


def test_a_journal_that_grows_too_far_is_given_up_until_it_is_empty(tmp_path: Path) -> None:
    descriptor = journal.create(tmp_path)
    source, sink = os.pipe()
    kept = Journal(descriptor, pipe=source, limit=1000)
    for number in range(60):
        os.write(sink, b'{"action":"processRecords","n":%d}\n' % number)
        line = kept.read_line()
        assert line.endswith(b'"n":%d}\n' % number)
        kept.begin(line)
        kept.answer()
        kept.answered(covered=number == 58)
        assert os.fstat(descriptor).st_size <= PAGE + 1100
    assert journal.can_be_continued(descriptor)
    for one in (descriptor, source, sink):
        os.close(one)


def test_a_line_longer_than_the_pipe_is_whole(tmp_path: Path) -> None:
    descriptor = journal.create(tmp_path)
    source, sink = os.pipe()
    long = b"x" * 3_000_000 + b"\n"
    writer = threading.Thread(target=lambda: os.fdopen(sink, "wb").write(long))
    writer.start()
    assert Journal(descriptor, pipe=source).read_line() == long
    writer.join()
    os.close(source)
    os.close(descriptor)
