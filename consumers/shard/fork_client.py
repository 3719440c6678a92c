"""The process that the KCL daemon starts for a shard: has the fork server fork the shard's child.

Run as ``python -I -S fork_client.py DIRECTORY``: it imports only what is compiled into the
interpreter, and so needs a few hundred KB of memory of its own. It passes its pipes to the fork
server in DIRECTORY and waits. The forked child speaks to the daemon over these pipes. This process
represents the child to the daemon: it exits with the child's status; and when the daemon kills it,
as the KCL does to a child that hangs, the fork server kills the child. Like the child it ignores
SIGTERM and SIGINT.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys
import time

SOCKET = "fork-server.sock"
PATIENCE_S = 30.0


def main(directory: str) -> int:
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    posix.chdir(directory)  # a socket's path is short, a directory's may not be
    fork_server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if not _connected(fork_server):
        posix.write(2, b"the fork server of this worker does not answer\n")
        return 1
    pipes = b"".join([fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2)])
    fork_server.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pipes)])
    for fd in (0, 1, 2):
        posix.close(fd)
    status = fork_server.recv(1)  # nothing, when the fork server is gone
    return status[0] if status else 1


def _connected(fork_server: _socket.socket) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            fork_server.connect(SOCKET)
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


if __name__ == "__main__":
    posix._exit(main(sys.argv[1]))
