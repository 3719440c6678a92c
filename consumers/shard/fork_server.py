"""The fork server: one process that has imported everything, and forks each shard's child.

What a child imports is most of its memory, and the same for every shard; forked, it is shared.
The KCL daemon starts a :mod:`consumers.shard.fork_client` where it would start a child. The client
passes its pipes to this process over a socket. From then on:

* when the child dies, it gets a successor over the same pipes (:mod:`consumers.shard.journal`), and
  the daemon does not notice; so does one that is frozen or hangs, and is killed for that;
* when it ends for good, the client receives its exit status and exits with it;
* when the client ends, the fork server kills the child;
* when the fork server ends, the kernel ends its children, and the clients exit;
* when the daemon ends, the child exits by itself, see :mod:`consumers.shard.child`.

The fork server has no thread and no connection when it forks. It makes the AWS clients and does not
use them, so each child opens connections of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import select
import signal
import socket
import sys
import termios
import time
import traceback
from pathlib import Path
from typing import Final

from consumers.archive.parquet import SegmentFile
from consumers.aws import clients
from consumers.config import from_environment
from consumers.record import ShardRecord
from consumers.shard import child, journal
from consumers.shard.fork_client import SOCKET
from consumers.shard.succession import Successions, Watch

_PR_SET_PDEATHSIG: Final = 1
_PIPES: Final = 3
WATCH_S: Final = 0.25


class _Shard:
    """What the fork server keeps of one shard: its client's connection, the daemon's pipes, the
    journal, and the process that is at work on it, if one is."""

    def __init__(self, client: socket.socket, pipes: list[int], journal: int) -> None:
        self.client = client
        self.pipes = pipes
        self.journal = journal
        self.pid = self.pidfd = 0
        self.replaced = 0
        self.successions = Successions()
        self.watch = Watch()
        self.fork_at: float | None = None
        self.client_gone = False

    @property
    def descriptors(self) -> list[int]:
        return [self.client.fileno(), *self.pipes, self.journal, *([self.pidfd] * bool(self.pidfd))]


class ForkServer:
    """Forks a child for each fork client, and a successor for a child that dies; ends child and
    client when the other ends."""

    def __init__(self, listener: socket.socket, directory: Path, child_timeout_s: float) -> None:
        self._listener = listener
        self._directory = directory
        self._hung_s = child_timeout_s / 2  # the daemon ends itself after the whole of it
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._waiting: dict[int, socket.socket] = {}  # clients that have not sent their pipes
        self._shards: dict[int, _Shard] = {}  # by their client's connection
        self._children: dict[int, _Shard] = {}  # by their child's pidfd

    def run(self) -> None:
        """Serve until this process is ended."""
        while True:
            for fd, _ in self._poll.poll(WATCH_S * 1000 if self._shards else None):
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._children:
                    self._reap(self._children[fd])
                elif fd in self._waiting:
                    self._on_new_client(self._waiting[fd])
                elif fd in self._shards:
                    self._on_client_gone(self._shards[fd])
            now = time.monotonic()
            for shard in list(self._shards.values()):
                if shard.fork_at is not None and now >= shard.fork_at:
                    self._fork(shard)
                elif shard.pid and self._is_stuck(shard, now):
                    _kill(shard.pid)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._waiting[connection.fileno()] = connection
        self._poll.register(connection, select.POLLIN)

    def _on_new_client(self, client: socket.socket) -> None:
        """A client sends its pipes once; its connection is readable again when it has ended."""
        del self._waiting[client.fileno()]
        try:
            sent, pipes, _, _ = socket.recv_fds(client, 1, _PIPES)
        except OSError:
            sent, pipes = b"", []
        if sent and len(pipes) == _PIPES:
            shard = _Shard(client, pipes, journal.create(self._directory))
            self._shards[client.fileno()] = shard
            self._fork(shard)
            return
        self._poll.unregister(client)
        client.close()
        for pipe in pipes:
            os.close(pipe)

    def _on_client_gone(self, shard: _Shard) -> None:
        shard.client_gone = True
        self._poll.unregister(shard.client)
        if shard.pid:
            _kill(shard.pid)  # the rest is closed when the child is reaped
        else:
            self._forget(shard)

    def _fork(self, shard: _Shard) -> None:
        parent = os.getpid()
        shard.fork_at = None
        pid = os.fork()
        if pid == 0:
            others = [one for other in self._shards.values() for one in other.descriptors]
            kept = {*shard.pipes, shard.journal}
            unused = [self._listener.fileno(), *self._waiting, *(set(others) - kept)]
            _become_child(parent, shard, unused)
        shard.pid = pid
        shard.pidfd = os.pidfd_open(pid)
        shard.watch = Watch(time.monotonic())
        shard.successions.began(time.monotonic())
        self._children[shard.pidfd] = shard
        self._poll.register(shard.pidfd, select.POLLIN)

    def _is_stuck(self, shard: _Shard, now: float) -> bool:
        state = journal.read_state(shard.journal)
        return shard.watch.is_stuck(
            state.done if _has_input(shard) else None,
            journal.last_beat(shard.journal),
            now,
            self._hung_s,
        )

    def _reap(self, shard: _Shard) -> None:
        del self._children[shard.pidfd]
        self._poll.unregister(shard.pidfd)
        os.close(shard.pidfd)
        _, status = os.waitpid(shard.pid, 0)
        shard.pid = shard.pidfd = 0
        code = os.waitstatus_to_exitcode(status)
        ended = code == 0 or shard.client_gone
        delay = None
        if not ended and journal.can_be_continued(shard.journal):
            delay = shard.successions.delay_s(time.monotonic())
        if delay is not None:
            print(f"a shard's process ended with {code}; its successor goes on", file=sys.stderr)
            shard.replaced += 1
            shard.fork_at = time.monotonic() + delay
            return
        with contextlib.suppress(OSError):
            shard.client.send(bytes([code if code >= 0 else 128 - code]))
        self._forget(shard)

    def _forget(self, shard: _Shard) -> None:
        if not shard.client_gone:
            self._poll.unregister(shard.client)
        del self._shards[shard.client.fileno()]
        shard.client.close()
        for descriptor in (*shard.pipes, shard.journal):
            os.close(descriptor)


def _has_input(shard: _Shard) -> bool:
    """Whether the daemon has sent something that it has no answer to."""
    waiting = fcntl.ioctl(shard.pipes[0], termios.FIONREAD, bytes(4))
    return any(waiting) or journal.has_open_action(shard.journal)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _become_child(parent: int, shard: _Shard, unused: list[int]) -> None:
    """Run a shard's child in this process, over the client's pipes; never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        for descriptor in unused:
            os.close(descriptor)
        for fd, pipe in enumerate(shard.pipes):
            os.dup2(pipe, fd)
            os.close(pipe)
        code = child.main(journal.Journal(shard.journal), shard.replaced)
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  # print it, as the interpreter does at its end
        traceback.print_exc()
    finally:
        os._exit(code)


def listen(directory: Path) -> socket.socket:
    """A listening socket in the directory, which only this user may connect to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    here = os.open(".", os.O_RDONLY)
    mask = os.umask(0o177)
    try:
        os.chdir(directory)  # a socket's path is short, a directory's may not be
        Path(SOCKET).unlink(missing_ok=True)
        listener.bind(SOCKET)
    finally:
        os.umask(mask)
        os.fchdir(here)
        os.close(here)
    listener.listen(128)
    return listener


def main(directory: str) -> None:
    """Import, make what every child needs, exclude it from garbage collection, and serve."""
    config = from_environment()
    clients.rehearse(clients.open_clients(config))
    _rehearse_archive()
    if config.traces_endpoint is not None:
        from ingest.traces.otlp import preload

        preload()
    listener = listen(Path(directory))
    gc.collect()
    gc.freeze()  # a collection would write to, and so copy, shared pages
    ForkServer(listener, Path(directory).absolute(), config.child_timeout_s).run()


def _rehearse_archive() -> None:
    """Encode one row, because Arrow initialises itself at the first; it starts no thread."""
    file = SegmentFile("")
    file.add([ShardRecord(None, 0, 0, "0", 0, b"", "malformed", None, 0)])
    file.close()


if __name__ == "__main__":
    main(sys.argv[1])
