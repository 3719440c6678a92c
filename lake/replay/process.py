"""One process of a replay: takes its part of the devices from stdin, and reports on stdout.

stdin is one line of JSON (:class:`Part`), stdout has a line of JSON (:class:`Report`) whenever
something was done. SIGTERM asks it to stop in order: it writes what it has folded.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

import botocore.session
import msgspec
from botocore.config import Config
from msgspec import Struct

from consumers.aws.clients import open_clients
from consumers.aws.in_flight import InFlight
from consumers.config import ChildConfig
from consumers.exceptions import ConsumerError
from consumers.hot.dynamodb import DynamoStore
from lake.replay.part import Replay, Replayed, Target
from lake.replay.rows import Selection
from lake.replay.source import ArchiveSource, S3Segments

CALLS_IN_FLIGHT: Final = 8

_S3: Final = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": 6, "mode": "standard"},
    s3={"addressing_style": "path"},
)


class Part(Struct, frozen=True):
    """What one process does: see :class:`lake.replay.part.Replay`. ``config`` says where the
    deployment is."""

    config: ChildConfig
    target: Target
    start: int
    end: int
    devices: tuple[str, ...] | None
    part: int
    parts: int
    arrived_until: int | None = None
    rate: float | None = None

    @property
    def selection(self) -> Selection:
        """The part's readings."""
        devices = None if self.devices is None else frozenset(self.devices)
        return Selection(self.start, self.end, devices, self.part, self.parts)


class Report(Struct):
    """A part's state; ``error`` is why it ended without being done."""

    part: int
    done: Replayed
    ended: bool = False
    error: str = ""


def replay_part(
    part: Part, report: Callable[[Replayed], None], stopping: Callable[[], bool]
) -> Replayed:
    """Replay a part on the deployment's own tables.

    :raises ConsumerError: as :meth:`lake.replay.part.Replay.run`.
    """
    config = part.config
    s3 = botocore.session.get_session().create_client(
        "s3", region_name=config.region, endpoint_url=config.endpoint_url, config=_S3
    )
    source = ArchiveSource(
        S3Segments(s3, config.bucket),  # type: ignore[arg-type]  # botocore names no service
        clock_ahead_s=config.clock_ahead_s,
        arrived_until=part.arrived_until,
    )
    replay = Replay(
        source,
        DynamoStore(open_clients(config).dynamodb),
        part.target,
        now_ms=lambda: time.time_ns() // 1_000_000,
        rate=part.rate,
        calls=InFlight(CALLS_IN_FLIGHT),
        stopping=stopping,
        progress=report,
    )
    return replay.run(part.selection)


def main() -> int:
    """Do the part on stdin; 1 when it could not be done."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command tells us
    gc.disable()  # millions of small objects, none of them in a circle
    part = msgspec.json.decode(sys.stdin.buffer.readline(), type=Part)
    done = Replayed()

    def report(now: Replayed) -> None:
        nonlocal done
        done = now
        _say(Report(part.part, now))
        gc.collect(0)

    try:
        replay_part(part, report, lambda: stopping)
    except ConsumerError as error:
        _say(Report(part.part, done, ended=True, error=str(error)))
        return 1
    _say(Report(part.part, done, ended=True))
    return 0


def _say(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
