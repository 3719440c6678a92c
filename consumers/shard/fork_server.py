"""The fork server: one process that has imported everything, and forks each shard's child.

What a child imports is most of its memory, and the same for every shard; forked, it is shared.
The KCL daemon starts a :mod:`consumers.shard.fork_client` where it would start a child. The client
passes its pipes to this process over a socket. From then on:

* when the child ends, the client receives its exit status and exits with it;
* when the client ends, the fork server kills the child;
* when the fork server ends, the kernel ends its children, and the clients exit;
* when the daemon ends, the child exits by itself, see :mod:`consumers.shard.child`.

The fork server has no thread and no connection when it forks. It makes the AWS clients and does not
use them, so each child opens connections of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Final

from consumers.archive.parquet import SegmentFile
from consumers.aws import clients
from consumers.config import from_environment
from consumers.record import ShardRecord
from consumers.shard import child
from consumers.shard.fork_client import SOCKET

_PR_SET_PDEATHSIG: Final = 1
_PIPES: Final = 3


class ForkServer:
    """Forks a child for each fork client, and ends each of the two when the other ends."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._clients: dict[int, socket.socket] = {}
        self._pids: dict[int, int] = {}  # of the child, by its client's connection
        self._children: dict[int, int] = {}  # the client's connection, by the child's pidfd

    def run(self) -> None:
        """Serve until this process is ended."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._children:
                    self._reap(fd)
                elif fd in self._clients:
                    self._on_client(fd)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._clients[connection.fileno()] = connection
        self._poll.register(connection, select.POLLIN)

    def _on_client(self, fd: int) -> None:
        """A client sends its pipes once; its connection is readable again when it has ended."""
        try:
            sent, pipes, _, _ = socket.recv_fds(self._clients[fd], 1, _PIPES)
        except OSError:
            sent, pipes = b"", []
        if sent and len(pipes) == _PIPES and fd not in self._pids:
            self._fork(fd, pipes)
        elif fd in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pids[fd], signal.SIGKILL)
            self._poll.unregister(fd)  # closed when the child is reaped
        else:
            self._forget(fd)
        for pipe in pipes:
            os.close(pipe)

    def _fork(self, fd: int, pipes: list[int]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_child(parent, pipes, [self._listener, *self._clients.values()])
        self._pids[fd] = pid
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = fd
        self._poll.register(pidfd, select.POLLIN)

    def _reap(self, pidfd: int) -> None:
        fd = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(self._pids.pop(fd), 0)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError):
            self._clients[fd].send(bytes([code if code >= 0 else 128 - code]))
        self._forget(fd)

    def _forget(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(fd)
        self._clients.pop(fd).close()


def _become_child(parent: int, pipes: list[int], sockets: list[socket.socket]) -> None:
    """Run a shard's child in this process, over the client's pipes; never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        for fd, pipe in enumerate(pipes):
            os.dup2(pipe, fd)
            os.close(pipe)
        for one in sockets:
            one.close()
        code = child.main()
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
    clients.rehearse(clients.open_clients(from_environment()))
    _rehearse_archive()
    listener = listen(Path(directory))
    gc.collect()
    gc.freeze()  # a collection would write to, and so copy, shared pages
    ForkServer(listener).run()


def _rehearse_archive() -> None:
    """Encode one row, because Arrow initialises itself at the first; it starts no thread."""
    file = SegmentFile("")
    file.add([ShardRecord(None, 0, 0, "0", 0, b"", "malformed", None, 0)])
    file.close()


if __name__ == "__main__":
    main(sys.argv[1])
