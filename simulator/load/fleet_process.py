"""One fleet of a scenario in a process of its own: ``python -m simulator.load.fleet_process``.

The first line of standard input is the :class:`Job`; a later line ``finish`` ends the fleet early:
it takes no more readings and sends what waits. The end of the input ends the process at once.
Standard output has a :class:`~simulator.load.fleet.Status` a line, twice a second. The process may
be killed at any time: the next one with the same job, one ``incarnation`` later, goes on with the
spools that this one left.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from simulator.load.fleet import FleetRunner, Status
from simulator.load.transport import KinesisTransport, MqttTransport, StreamTarget, Transport
from simulator.scenario import Fleet
from simulator.verification.ledger import Ledger

STATUS_S: Final = 0.5


class Job(msgspec.Struct, frozen=True):
    """What a fleet's process is to do; ``started_at`` in s since 1970. The broker is left out
    when there is a ``stream``."""

    fleet: Fleet
    seed: int
    incarnation: int
    started_at: float
    devices_dir: str
    names: list[str]
    spools: str
    ledger: str
    victims: list[str]
    stream: StreamTarget | None = None


def _runner(job: Job, ledger: Ledger) -> FleetRunner:
    transport: Transport = (
        KinesisTransport.to(job.stream) if job.stream else MqttTransport(Path(job.devices_dir))
    )
    return FleetRunner(
        job.fleet, job.names, seed=job.seed, ledger=ledger, transport=transport,
        spools=Path(job.spools), started_at=job.started_at, incarnation=job.incarnation,
        victims=job.victims,
    )  # fmt: skip


def _print(status: Status) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(status) + b"\n")
    sys.stdout.buffer.flush()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer)
    job = msgspec.json.decode(await lines.readline(), type=Job)
    ledger = Ledger.join(Path(job.ledger), lambda: time.time_ns() // 1_000_000)
    runner = _runner(job, ledger)

    async def follow_input() -> None:
        while line := await lines.readline():
            if line.strip() == b"finish":
                runner.finish()
        os._exit(1)  # the process that started this one is gone

    async def report() -> None:
        while True:
            await asyncio.sleep(STATUS_S)
            _print(runner.status())

    beside = [asyncio.create_task(follow_input()), asyncio.create_task(report())]
    await runner.run()
    for task in beside:
        task.cancel()
    _print(runner.status())
    ledger.close()


if __name__ == "__main__":
    asyncio.run(_main())
