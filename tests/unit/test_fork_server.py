"""Fork client, fork server and child live and die together, whoever of them goes first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.config import child_config, to_environment
from consumers.shard import journal
from consumers.worker.launch import ARROW, child_command
from ingest.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fork server is for Linux")
INITIALIZE = b'{"action":"initialize","shardId":"shardId-0"}\n'


def until(what: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def fork_server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        **to_environment(child_config(Settings(endpoint_url="http://127.0.0.1:9"), "000000000000")),
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        **ARROW,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "consumers.shard.fork_server", str(tmp_path)], env=environment
    )
    with process:
        yield process
        process.kill()


@pytest.fixture
def fork_client(fork_server: object, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        child_command(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        yield process
        process.kill()


def initialized(fork_client: subprocess.Popen[bytes]) -> None:
    assert fork_client.stdin is not None
    assert fork_client.stdout is not None
    fork_client.stdin.write(INITIALIZE)
    fork_client.stdin.flush()
    assert b"initialize" in fork_client.stdout.readline() + fork_client.stdout.readline()


Process = subprocess.Popen[bytes]


def test_the_child_speaks_over_the_fork_client_s_pipes_and_ends_with_the_daemon(
    fork_server: Process, fork_client: Process
) -> None:
    initialized(fork_client)
    (child,) = children(fork_server.pid)
    fork_client.terminate()  # ignored, as by a child of its own
    assert fork_client.stdin is not None
    fork_client.stdin.close()
    assert fork_client.wait(20) == 0
    until(lambda: is_gone(child))


def test_a_child_reports_its_shard_before_its_first_batch(
    fork_server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with subprocess.Popen(
        child_command(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as client:  # fmt: skip
        initialized(client)
        assert client.stderr is not None
        line = client.stderr.readline()
        client.kill()
    assert b'"shard":"shardId-0"' in line


def test_the_fork_client_leaves_with_the_child_s_exit_status(
    fork_server: Process, fork_client: Process
) -> None:
    assert fork_client.stdin is not None
    fork_client.stdin.write(b"not the protocol\n")
    fork_client.stdin.flush()
    assert fork_client.wait(20) == 1


def answered(fork_client: Process, action: bytes, name: bytes) -> None:
    """Send an action as the daemon does, and read its answer."""
    assert fork_client.stdin is not None
    assert fork_client.stdout is not None
    fork_client.stdin.write(action)
    fork_client.stdin.flush()
    assert name in fork_client.stdout.readline() + fork_client.stdout.readline()


def the_child(fork_server: Process) -> int:
    """The one child, when it has written down that the daemon has its answer."""
    until(lambda: len(children(fork_server.pid)) == 1)
    (child,) = children(fork_server.pid)
    until(lambda: any(map(_is_answered, Path(f"/proc/{child}/fd").iterdir())))
    return child


def _is_answered(link: Path) -> bool:
    if "journal-" not in str(link.readlink()):
        return False
    with link.open("rb") as file:
        state = journal.read_state(file.fileno())
    return state.done > journal.PAGE or (state.initialize > 0 and not state.answering)


EMPTY = b'{"action":"processRecords","records":[],"millisBehindLatest":0}\n'


def test_a_child_that_is_killed_gets_a_successor_over_the_same_pipes(
    fork_server: Process, fork_client: Process
) -> None:
    initialized(fork_client)
    first = the_child(fork_server)
    os.kill(first, signal.SIGKILL)
    answered(fork_client, EMPTY, b"processRecords")
    assert the_child(fork_server) != first
    assert fork_client.poll() is None


def test_a_child_that_is_frozen_gets_a_successor(
    fork_server: Process, fork_client: Process
) -> None:
    initialized(fork_client)
    os.kill(the_child(fork_server), signal.SIGSTOP)
    answered(fork_client, EMPTY, b"processRecords")


def test_a_child_that_keeps_dying_takes_its_fork_client_with_it(
    fork_server: Process, fork_client: Process
) -> None:
    initialized(fork_client)
    deadline = time.monotonic() + 40
    while fork_client.poll() is None:
        assert time.monotonic() < deadline
        for child in children(fork_server.pid):
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)
    assert fork_client.wait() == 128 + signal.SIGKILL


def test_a_fork_client_that_is_killed_takes_its_child_with_it(
    fork_server: Process, fork_client: Process
) -> None:
    initialized(fork_client)
    (child,) = children(fork_server.pid)
    os.kill(child, signal.SIGSTOP)  # a child that hangs
    fork_client.kill()
    until(lambda: is_gone(child))
    until(lambda: children(fork_server.pid) == [])


def test_a_fork_server_that_is_killed_takes_children_and_fork_clients_with_it(
    fork_server: Process, fork_client: Process
) -> None:
    initialized(fork_client)
    (child,) = children(fork_server.pid)
    fork_server.kill()
    assert fork_client.wait(20) == 1
    until(lambda: is_gone(child))


def test_the_end_of_one_child_leaves_the_others_running(
    fork_server: Process, fork_client: Process, tmp_path: Path
) -> None:
    initialized(fork_client)
    other = subprocess.Popen(child_command(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other:
        initialized(other)
        assert len(children(fork_server.pid)) == 2
        other.kill()
        until(lambda: len(children(fork_server.pid)) == 1)
    assert fork_client.poll() is None
    assert fork_client.stdin is not None
    fork_client.stdin.write(INITIALIZE)
    fork_client.stdin.flush()
    assert fork_client.stdout is not None
    assert b"initialize" in fork_client.stdout.readline() + fork_client.stdout.readline()


def test_the_fork_server_has_no_thread_and_no_connection_before_it_forks(
    fork_server: Process, fork_client: Process
) -> None:
    initialized(fork_client)
    assert len(list(Path(f"/proc/{fork_server.pid}/task").iterdir())) == 1
    kinds = [str(fd.readlink()) for fd in Path(f"/proc/{fork_server.pid}/fd").iterdir()]
    assert sum(kind.startswith("socket:") for kind in kinds) == 2  # listener and fork_client


def test_only_this_user_reaches_the_fork_server(fork_server: Process, tmp_path: Path) -> None:
    path = tmp_path / "fork-server.sock"
    until(path.exists)
    assert path.stat().st_mode & 0o777 == 0o600
