"""The KCL daemon's side of one child: lines down, lines and AWS calls up, one at a time.

A child works for itself only between two of its events, so the daemon decides the order of
everything that happens in the world.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from consumers.kcl.protocol import StreamRecord
from tests.chaos.schedules.child import Clock, Plan, become, kill, receive, send
from tests.chaos.schedules.services import Call

PATIENCE_S: Final = 10.0


class Gone(NamedTuple):
    """The child has ended; ``status`` is its exit code, or minus the signal's number."""

    status: int


Event = Call | Gone | Mapping[str, Any]
"""What a child waits with: a call to AWS, a line of the protocol, or its end."""


class StuckError(AssertionError):
    """A child neither asks nor answers."""


class Child:
    """A forked child with its pipes."""

    def __init__(self, clock: Clock, plan: Plan) -> None:
        down_read, self._down = os.pipe()
        self._up, up_write = os.pipe()
        self._wire, theirs = socket.socketpair()
        self._buffer = b""
        self.pid = os.fork()
        if self.pid == 0:
            become((down_read, up_write), theirs, clock, plan)
        os.close(down_read)
        os.close(up_write)
        theirs.close()
        self.gone: Gone | None = None

    def say(self, **message: Any) -> None:
        """Send a line."""
        with contextlib.suppress(BrokenPipeError):
            _write(self._down, message)

    def answer(self, value: Any) -> None:
        """Answer the call that it waits with."""
        with contextlib.suppress(BrokenPipeError):
            send(self._wire, value)

    def event(self) -> Event:
        """What it does next.

        :raises StuckError: when it does nothing.
        """
        while True:
            if b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                if line.strip():
                    return dict(msgspec.json.decode(line))
                continue
            waiting: list[socket.socket | int] = [self._wire, self._up]
            ready, _, _ = select.select(waiting, [], [], PATIENCE_S)
            if not ready:
                os.kill(self.pid, signal.SIGUSR1)
                raise StuckError(f"child {self.pid} is stuck")
            if self._up in ready:
                part = os.read(self._up, 1 << 16)
                self._buffer += part
                if not part:
                    return self._ended()
            else:
                try:
                    call = receive(self._wire)
                except (EOFError, ConnectionResetError):
                    part = os.read(self._up, 1 << 16)
                    self._buffer += part
                    if not part:
                        return self._ended()
                    continue
                assert isinstance(call, Call)
                return call

    def kill(self) -> None:
        """SIGKILL it."""
        if self.gone is None:
            kill(self.pid)
            self._close()
            self.gone = Gone(-9)

    def hang_up(self) -> int:
        """Close the daemon's ends, as a daemon that dies does, and wait for the child's end."""
        if self.gone is None:
            self._close()
            _, status = os.waitpid(self.pid, 0)
            self.gone = Gone(os.waitstatus_to_exitcode(status))
        return self.gone.status

    def _ended(self) -> Gone:
        _, status = os.waitpid(self.pid, 0)
        self._close()
        self.gone = Gone(os.waitstatus_to_exitcode(status))
        return self.gone

    def _close(self) -> None:
        os.close(self._down)
        os.close(self._up)
        self._wire.close()


def _write(fd: int, message: Mapping[str, Any]) -> None:
    data = msgspec.json.encode(message) + b"\n"
    while data:
        data = data[os.write(fd, data) :]


def record_line(record: StreamRecord) -> dict[str, Any]:
    """A record as the daemon writes it."""
    return {
        "action": "record",
        "data": base64.b64encode(record.data).decode(),
        "partitionKey": record.partition_key,
        "sequenceNumber": record.sequence_number,
        "subSequenceNumber": record.sub_sequence_number,
        "approximateArrivalTimestamp": record.approximate_arrival_timestamp,
    }


def batch(records: Sequence[StreamRecord]) -> dict[str, Any]:
    """A ``processRecords`` message."""
    return {
        "action": "processRecords",
        "records": [record_line(record) for record in records],
        "millisBehindLatest": 0,
    }
