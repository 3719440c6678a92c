"""A real child process, forked: ``consumers.shard.child.main`` over pipes, with its clock and the
wire of its AWS clients in the hands of whoever plays the daemon.

Forked and not started, because a schedule needs several and there are thousands of schedules.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import pickle
import random
import signal
import socket
import struct
import sys
import time
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from botocore.exceptions import ClientError, ReadTimeoutError

from consumers import failpoints
from consumers.aws import backoff as retry
from consumers.aws.clients import Clients
from consumers.hot import tier_windows as hot
from consumers.hot.runs import Run
from consumers.hot.windows import Window
from consumers.shard import child, fold_queue
from tests.chaos.schedules.services import Call, Failure
from tests.harness.calls import ShuffledCalls

POISON: Final = "poison"
_LENGTH: Final = struct.Struct("!I")
_CLOCK: Final = struct.Struct("d")


class Clock:
    """A monotonic clock (s) that the daemon sets and its children read."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _CLOCK.size)
        self.set(0.0)

    def set(self, now: float) -> None:
        _CLOCK.pack_into(self._shared, 0, now)

    def __call__(self) -> float:
        return float(_CLOCK.unpack_from(self._shared, 0)[0])


class Plan(NamedTuple):
    """What a child shall suffer by itself: at the ``nth`` pass of ``point``, ``action``; the
    defect that is built into it; and the seed of the order of its calls."""

    point: str = ""
    nth: int = 0
    action: str = ""
    defect: Callable[[], None] | None = None
    seed: int = 0


def send(sock: socket.socket, value: Any) -> None:
    """One value over the wire."""
    body = pickle.dumps(value)
    sock.sendall(_LENGTH.pack(len(body)) + body)


def receive(sock: socket.socket) -> Any:
    """The next value; ``EOFError`` when there will be none."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    return pickle.loads(_exactly(sock, length))


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts


def become(pipes: tuple[int, int], wire: socket.socket, clock: Clock, plan: Plan) -> NoReturn:
    """Turn this (forked) process into a shard's child."""
    code = 70
    try:
        os.setpgid(0, 0)
        for source, target in zip(pipes, (0, 1), strict=True):
            os.dup2(source, target)
        for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if fd > 2 and fd != wire.fileno():
                _close(fd)
        sys.stdin = os.fdopen(0, closefd=False)
        faulthandler.register(signal.SIGUSR1, file=2)  # a stuck child says where it is
        _patch(wire, clock, plan)
        code = child.main()
    except BaseException as error:
        print(f"child {os.getpid()}: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        """It was the folder's own."""


def _patch(wire: socket.socket, clock: Clock, plan: Plan) -> None:
    """Replace what touches the world, and nothing else."""
    slept = 0.0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds

    now = types.SimpleNamespace(
        monotonic=clock, time=time.time, time_ns=lambda: time.time_ns(), sleep=lambda seconds: None
    )
    remote: Any = _Remote(wire)
    patched: Any = child
    patched.time = now
    patched.open_clients = lambda _: Clients(remote, remote)
    patched.InFlight = lambda limit: ShuffledCalls(limit, random.Random(plan.seed))
    patched.ShardStats._send = lambda self, line: None
    retry.Backoff.__init__.__defaults__ = (sleep, lambda: slept, lambda: 1.0)
    _poison_the_fold()
    _little_memory()
    if plan.point:
        failpoints.hit = _hit(plan)
    if plan.defect:
        plan.defect()


def _hit(plan: Plan) -> Callable[[failpoints.Point], None]:
    passed: Counter[str] = Counter()

    def hit(point: failpoints.Point) -> None:
        passed[point] += 1
        if point == plan.point and passed[point] == plan.nth:
            failpoints.obey(plan.action)

    return hit


def _poison_the_fold() -> None:
    """Make the fold of a poisoned run raise halfway, with its ids already added."""
    original = Window.fold

    def fold(self: Window, run: Run) -> Any:
        if POISON in run.columns:
            self.ids.add(run.boot, run.seq, run.end)
            raise ZeroDivisionError("poison")
        return original(self, run)

    Window.fold = fold  # type: ignore[method-assign]


def _little_memory() -> None:
    """Limits that a shard meets in days, met in a schedule."""
    fold_queue.FULL = 3000  # type: ignore[misc]
    hot.PENDING_READINGS = 11  # type: ignore[misc]
    hot.OPEN_WINDOWS = 9  # type: ignore[misc]


class _Events:
    """The SDK's event system, as far as the worker uses it."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[..., None]] = {}

    def register(self, name: str, handler: Callable[..., None]) -> None:
        self.handlers[name.rsplit(".", 1)[-1]] = handler


class _Remote:
    """A client whose service is at the other end of the wire."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self.meta = types.SimpleNamespace(events=_Events())

    def _final(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """The request as it leaves: with the body that a handler put in, or read from a file."""
        if operation == "batch_execute_statement":
            params: dict[str, Any] = {}
            self.meta.events.handlers["BatchExecuteStatement"](params)
            return dict(json.loads(params["body"]))
        if hasattr(request.get("Body"), "read"):
            request["Body"].seek(0)
            return {**request, "Body": request["Body"].read()}
        return request

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            send(self._wire, Call(operation, self._final(operation, request)))
            answer = receive(self._wire)
            if not isinstance(answer, Failure):
                return answer
            if not answer.code:
                raise ReadTimeoutError(endpoint_url="memory")
            response: Any = {
                "Error": {"Code": answer.code, "Message": "as planned"},
                "ResponseMetadata": {"HTTPStatusCode": answer.status},
            }
            raise ClientError(response, operation)

        return call

    def get_paginator(self, operation: str) -> Any:
        return types.SimpleNamespace(paginate=lambda **r: [getattr(self, operation)(**r)])


def stderr_to(path: Path) -> None:
    """Send this process's and its children's stderr to a file."""
    with path.open("ab") as log:
        os.dup2(log.fileno(), 2)


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    os.waitpid(pid, 0)
