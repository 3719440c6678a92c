"""The lines that a shard's process has received since its last checkpoint, for its successor.

The fork server makes one journal for each shard, an unnamed file, and keeps it when the process of
the shard dies. A successor reads it, does the work again, and goes on where its predecessor died;
the daemon at the other end of the pipes notices nothing. Repeating is safe, because folding is
idempotent and a segment is created once.

Lines go from the pipe to the file inside the kernel (``splice``), and are read from the file. So no
byte is lost between the two, whenever the process is killed. Beside the lines the file holds how
far the daemon has its answers: the protocol is strictly request and response, so at most one action
is open. The one moment at which a death is ambiguous, while an answer is being written, is marked;
a process that dies there gets no successor.
"""

from __future__ import annotations

import ctypes
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from consumers.kcl.position import Position, position

PAGE: Final = 4096
"""Where the lines begin; before them are the state and the ``initialize`` line."""
MIB: Final = 1024 * 1024
_STATE: Final = struct.Struct("<QQBBHI")
_BEAT: Final = struct.Struct("<dQ")
_BEAT_AT: Final = 48
_INITIALIZE_AT: Final = 64
_POSITION: Final = struct.Struct("<QH")
_POSITION_AT: Final = 3072
_SEQUENCE_BYTES: Final = 512
_CHUNK: Final = 1 * MIB
_PUNCH_HOLE: Final = 0x01 | 0x02  # and keep the file's size


class State(NamedTuple):
    """What a successor must know.

    Lines from offset ``base`` on are not covered by a checkpoint; those before ``done`` are
    answered. ``answering``: the answer to the open action may be written or not. ``lost``: lines
    are missing. ``asked`` is how many checkpoint requests have no answer in the journal.
    """

    base: int = PAGE
    done: int = PAGE
    answering: bool = False
    lost: bool = False
    asked: int = 0
    initialize: int = 0


def create(directory: Path) -> int:
    """Make an empty journal: a file descriptor of a file that ends with its last descriptor."""
    descriptor, name = tempfile.mkstemp(dir=directory, prefix="journal-")
    Path(name).unlink()
    os.pwrite(descriptor, _STATE.pack(*State()), 0)
    os.ftruncate(descriptor, PAGE)
    return descriptor


def read_state(descriptor: int) -> State:
    """The state that a process left in its journal."""
    base, done, answering, lost, asked, initialize = _STATE.unpack(
        os.pread(descriptor, _STATE.size, 0)
    )
    return State(base, done, bool(answering), bool(lost), asked, initialize)


def can_be_continued(descriptor: int) -> bool:
    """Whether a successor can go on where the owner of the journal died."""
    state = read_state(descriptor)
    begun = bool(state.initialize) or state.done == PAGE
    return begun and not state.answering and not state.lost


def has_open_action(descriptor: int) -> bool:
    """Whether the daemon waits for an answer, or has sent a part of an action."""
    return os.fstat(descriptor).st_size > read_state(descriptor).done


def last_beat(descriptor: int) -> tuple[float, int]:
    """When the owner of the journal last wrote that it runs (monotonic, s), and how many steps of
    its work it had done by then."""
    at, steps = _BEAT.unpack(os.pread(descriptor, _BEAT.size, _BEAT_AT))
    return at, steps


class Journal:
    """A process's own end of its journal: reads the daemon's lines, and keeps them."""

    def __init__(self, descriptor: int, *, pipe: int = 0, limit: int = 256 * MIB) -> None:
        """``limit`` bounds the bytes that it keeps; beyond it the process has no successor until
        the next checkpoint but one."""
        self._file = descriptor
        self._pipe = pipe
        self._limit = limit
        self._state = read_state(descriptor)
        self._size = os.fstat(descriptor).st_size
        if self._size < self._state.done:  # the predecessor died while it emptied the file
            self._set(base=PAGE, done=PAGE)
        self._read = self._size
        self._tail = b""
        self._action_at = self._state.base  # until an action begins: nothing is left out

    # -- what a predecessor left ----------------------------------------------------------------

    def initialize_line(self) -> bytes:
        """The shard's first line; empty for the shard's first process."""
        return os.pread(self._file, self._state.initialize, _INITIALIZE_AT)

    def answered_lines(self) -> Iterator[bytes]:
        """The lines since the last checkpoint that the daemon has its answers to."""
        at, rest = self._state.base, b""
        while at < self._state.done:
            chunk = os.pread(self._file, min(_CHUNK, self._state.done - at), at)
            at += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines

    def open_lines(self) -> list[tuple[bytes, int]]:
        """The complete lines after the last answer, each with the offset at which it begins. The
        line that is not complete is continued by :meth:`read_line`."""
        at = self._state.done
        *lines, self._tail = os.pread(self._file, self._size - at, at).split(b"\n")
        self._read = self._size - len(self._tail)
        found = []
        for line in lines:
            found.append((line, at))
            at += len(line) + 1
        return found

    @property
    def asked(self) -> int:
        """Checkpoint requests of a predecessor whose answers may still come."""
        return self._state.asked

    # -- the daemon's lines -----------------------------------------------------------------------

    def read_line(self) -> bytes:
        """The next line with its end; empty when the pipe has ended."""
        parts = []
        while chunk := self._next_chunk():
            cut = chunk.find(b"\n") + 1
            if cut:
                self._tail = chunk[cut:]
                parts.append(chunk[:cut])
                line = b"".join(parts)
                self._read += len(line)
                return line
            parts.append(chunk)
        return b""

    @property
    def has_read_ahead(self) -> bool:
        """Whether bytes after the line read last were taken from the pipe with it."""
        return bool(self._tail)

    def _next_chunk(self) -> bytes:
        if self._tail:
            chunk, self._tail = self._tail, b""
            return chunk
        if not self._state.lost:
            try:
                moved = os.splice(self._pipe, self._file, _CHUNK, offset_dst=self._size)
            except OSError:  # no room, or a file system without splice
                self._lose()
            else:
                self._size += moved
                return os.pread(self._file, moved, self._size - moved)
        return os.read(self._pipe, _CHUNK)

    def beat(self, now: float, steps: int) -> None:
        """This process runs, and has done so many steps; ``now`` is monotonic (s). From any
        thread."""
        os.pwrite(self._file, _BEAT.pack(now, steps), _BEAT_AT)

    # -- what is written down beside them ---------------------------------------------------------

    def begin(self, line: bytes, at: int | None = None) -> None:
        """An action begins: the line read last, or a predecessor's at this offset."""
        self._action_at = self._read - len(line) if at is None else at
        if not self._state.initialize and len(line) <= _POSITION_AT - _INITIALIZE_AT:
            os.pwrite(self._file, line, _INITIALIZE_AT)
            self._set(initialize=len(line))

    def ask(self, position: Position | None) -> None:
        """A request for a checkpoint there is written next."""
        if position is not None:
            text = position.sequence.encode()[:_SEQUENCE_BYTES]
            os.pwrite(self._file, _POSITION.pack(position.sub, len(text)) + text, _POSITION_AT)
        self._set(asked=self._state.asked + 1)

    @property
    def asked_position(self) -> Position | None:
        """The last position that a checkpoint was asked for at, granted or not."""
        stored = os.pread(self._file, _POSITION.size + _SEQUENCE_BYTES, _POSITION_AT)
        if len(stored) < _POSITION.size:
            return None
        sub, length = _POSITION.unpack_from(stored)
        text = stored[_POSITION.size : _POSITION.size + length].decode()
        return position(text, sub) if text else None

    def hear(self) -> None:
        """An answer to a checkpoint request was read."""
        self._set(asked=max(0, self._state.asked - 1))

    @property
    def action_at(self) -> int:
        """The offset of the action that is being worked on. While a predecessor's actions are
        repeated, that of the first of them."""
        return self._action_at

    def checkpointed(self, before: int) -> None:
        """A checkpoint covers every action that begins before this offset."""
        self._set(base=max(before, self._state.base))

    def answer(self) -> None:
        """The answer to the action is written next."""
        self._set(answering=True)

    def answered(self, *, covered: bool) -> None:
        """The answer is written. ``covered``: a checkpoint covers the whole action."""
        done = max(self._read, PAGE)
        self._set(answering=False, done=done, base=done if covered else self._state.base)
        if covered and not self._tail and self._size > PAGE:
            self._empty()
        elif not self._state.lost and self._size - self._state.base > self._limit:
            self._lose()
        elif self._state.base - PAGE > _CHUNK:
            _punch(self._file, PAGE, self._state.base)

    def give_up(self) -> None:
        """This process shall have no successor."""
        self._lose()

    def _empty(self) -> None:
        """Give the disk back. A file that ends before ``base`` is an empty one, so a death between
        the two steps does no harm."""
        os.ftruncate(self._file, PAGE)
        self._size = self._read = self._action_at = PAGE
        self._set(base=PAGE, done=PAGE, lost=False)

    def _lose(self) -> None:
        """Keep no lines until the journal is empty again."""
        self._set(lost=True)
        os.ftruncate(self._file, PAGE)

    def _set(self, **changes: object) -> None:
        self._state = self._state._replace(**changes)  # type: ignore[arg-type]
        os.pwrite(self._file, _STATE.pack(*self._state), 0)


def _punch(descriptor: int, start: int, end: int) -> None:
    """Give a range of the file back to the disk, where the file system can."""
    start, end = start - start % PAGE, end - end % PAGE
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate(
        descriptor, _PUNCH_HOLE, ctypes.c_long(start), ctypes.c_long(max(0, end - start))
    )
