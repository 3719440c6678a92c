"""What the KCL daemon starts for a shard: it hands its pipes to the nursery, and waits.

Run as ``python -I -S launcher.py DIRECTORY``, so it imports nothing but what is compiled into
the interpreter, and stays at a few hundred KB of memory of its own. The child that the nursery
forks speaks to the daemon over these pipes; this process stands for it: it leaves with the
child's exit status, and when it is killed, as the KCL does to a child that hangs, the nursery
kills the child. It ignores SIGTERM and SIGINT as the child does.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys
import time

SOCKET = "nursery.sock"
PATIENCE_S = 30.0


def main(directory: str) -> int:
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    posix.chdir(directory)  # a socket's path is short, a directory's may not be
    nursery = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if not _connected(nursery):
        posix.write(2, b"the nursery of this worker does not answer\n")
        return 1
    pipes = b"".join([fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2)])
    nursery.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pipes)])
    for fd in (0, 1, 2):
        posix.close(fd)
    status = nursery.recv(1)  # nothing, when the nursery is gone
    return status[0] if status else 1


def _connected(nursery: _socket.socket) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            nursery.connect(SOCKET)
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


if __name__ == "__main__":
    posix._exit(main(sys.argv[1]))
