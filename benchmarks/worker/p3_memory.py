"""P3: memory that a further shard adds to a worker.

Proportional set size (PSS) of the child and of everything it needs, fork client and fork server
included: what four shards take more than one, by three. Ours work under load, 2,500 records a
second (more than twice what a shard can bring), with windows to write and a segment open, a part
of it encoded; baseline C, a stock child with boto3 and pyarrow imported and its clients open,
does nothing at all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import MEASURED_ENVIRONMENT, Progress, Result, Samples, check, result
from benchmarks.workloads import traffic
from benchmarks.workloads.stub import Stub
from consumers.config import child_config, to_environment
from consumers.worker.launch import ARROW, child_command
from ingest.settings import Settings

SHARDS = 4
RUNS = 5
LINES = 16
LINE_EVERY_S = 0.2
Process = subprocess.Popen[bytes]


def pss_mb(pids: Iterable[int]) -> float:
    """Proportional set size of processes."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in tree(int(child)))]


def run(progress: Progress) -> Result:
    """Measure both, in turn, five times."""
    if sys.platform != "linux":
        raise SystemExit("P3 reads /proc, which this system has not")
    ours: list[float] = []
    apart: list[float] = []
    stock: list[float] = []
    lines = list(traffic.lines(500, LINES, 1))
    with Stub() as endpoint:
        for turn in range(RUNS):
            progress(f"run {turn + 1} of {RUNS} …")
            stock.append(a_shard(_stock))
            ours.append(
                a_shard(lambda stack, n: _ours(stack, n, endpoint, lines, fork_server=True))
            )
            apart.append(
                a_shard(lambda stack, n: _ours(stack, n, endpoint, lines, fork_server=False))
            )
    checks = [
        check(
            "memory a further shard adds, against C",
            Samples(ours),
            Samples(stock),
            unit="MB",
            at_most=1 / 3,
        ),
        check("the same without the fork server", Samples(apart), Samples(stock), unit="MB"),
    ]
    return result("memory a further shard adds", checks)


def a_shard(start: Callable[[ExitStack, int], list[int]]) -> float:
    """MB that each of the further shards takes."""
    sizes = []
    for shards in (1, SHARDS):
        with ExitStack() as stack:
            sizes.append(pss_mb(start(stack, shards)))
    return (sizes[1] - sizes[0]) / (SHARDS - 1)


def shards_together(shards: int) -> dict[str, float]:
    """Memory of a worker's children under load, and how many records a second they take together
    when each is fed as fast as all of them answer."""
    lines = list(traffic.lines(500, LINES, 1))
    with Stub() as endpoint, ExitStack() as stack:
        roots, children = _start(stack, shards, endpoint, fork_server=True)
        began = time.monotonic()
        _feed(children, lines, 0.0)
        seconds = time.monotonic() - began
        return {
            "shards": shards,
            "megabytes": round(pss_mb(pid for root in roots for pid in tree(root)), 1),
            "records_a_second": round(shards * LINES * traffic.RECORDS_A_LINE / seconds),
        }


def _spawn(stack: ExitStack, command: list[str], environment: dict[str, str]) -> Process:
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def _environment(endpoint: str) -> dict[str, str]:
    config = child_config(Settings(endpoint_url=endpoint), "000000000000")
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-west-1"}
    keys["AWS_DEFAULT_REGION"] = keys["AWS_REGION"]
    return {**os.environ, **ARROW, **MEASURED_ENVIRONMENT, **keys, **to_environment(config)}


def _stock(stack: ExitStack, shards: int) -> list[int]:
    command = [sys.executable, "-m", "benchmarks.baselines.stock_child"]
    children = [_spawn(stack, command, _environment("")) for _ in range(shards)]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    return [child.pid for child in children]


def _ours(
    stack: ExitStack, shards: int, endpoint: str, lines: list[bytes], *, fork_server: bool
) -> list[int]:
    roots, children = _start(stack, shards, endpoint, fork_server=fork_server)
    _feed(children, lines, LINE_EVERY_S)
    return [pid for root in roots for pid in tree(root)]


def _start(
    stack: ExitStack, shards: int, endpoint: str, *, fork_server: bool
) -> tuple[list[int], list[Process]]:
    """The processes at the top, and the children that have taken their shards."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    environment = _environment(endpoint)
    roots = []
    if fork_server:
        command = [sys.executable, "-m", "consumers.shard.fork_server", str(directory)]
        roots.append(_spawn(stack, command, environment).pid)
    command = child_command(directory if fork_server else None)
    children = [_spawn(stack, command, environment) for _ in range(shards)]
    for number, child in enumerate(children):
        _say(child, b'{"action":"initialize","shardId":"shardId-%012d"}' % number)
    for child in children:
        _hear(child)
    return [*roots, *(child.pid for child in children)], children


def _feed(children: list[Process], lines: list[bytes], every_s: float) -> None:
    """Each line to every child, no sooner than all have answered and its time has come."""
    began = time.monotonic()
    for place, line in enumerate(lines):
        for child in children:
            _say(child, line)
        for child in children:
            _hear(child)
        due = began + (place + 1) * every_s
        time.sleep(max(0.0, due - time.monotonic()))


def _say(child: Process, line: bytes) -> None:
    assert child.stdin is not None
    child.stdin.write(line + b"\n")
    child.stdin.flush()


def _hear(child: Process) -> None:
    """Wait for the answer to an action."""
    assert child.stdout is not None
    while b'"status"' not in (line := child.stdout.readline()):
        if not line:
            raise RuntimeError("a child left before it was asked to")
