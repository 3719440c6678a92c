"""The lag of each shard, as the worker knows it from outside the shard's process.

Lag is the age of the oldest record of the stream that the shard's process has not received. In
memory a received record waits at most for its flush and its segment, see ``uncommitted_ms`` in the
status; a process that cannot write receives nothing more, so its lag grows.

A process that reports states how far behind it is. For a silent one (the KCL, the daemon or the
process stands still, or no worker holds the lease) the monitor asks the stream whether a record
waits, and since when. So a shard without records never has a lag, and the lag of one that stands
still is known within :data:`SILENT_S` and one round of the monitor.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from consumers.kcl.leases import SHARD_END, Lease, read_leases
from consumers.worker.duty import on_duty
from consumers.worker.status import ShardProgress, WorkerStatus

ROUND_S: Final = 1.0
SILENT_S: Final = 2.0
"""A process that reported within this time is believed; it reports every second."""
LEASES_S: Final = 5.0
_POSITIONS: Final = ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")

log: Final = logging.getLogger(__name__)


class Stream(Protocol):
    """What the monitor asks of AWS. Both raise as ``boto3`` does."""

    def leases(self) -> list[Lease]:
        """All leases of the application."""

    def waiting_since(self, shard: str, after: str) -> int | None:
        """When (ms) the first record after a sequence number, or from ``TRIM_HORIZON`` on,
        arrived; ``None`` when there is none."""


@dataclass
class _Seen:
    """A lease as it was when its counter last changed (monotonic, s)."""

    counter: int
    at: float


class LagMonitor:
    """Works out the lag of every shard that this worker answers for: those that it holds, and
    those that nobody holds."""

    def __init__(
        self,
        status: WorkerStatus,
        stream: Stream,
        worker_id: Callable[[], str],
        *,
        expiry_s: float,
        on_leases: Callable[[Sequence[Lease]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """``expiry_s``: a lease whose counter has not moved for so long is held by nobody.
        ``on_leases`` gets each reading of the lease table."""
        self._status = status
        self._stream = stream
        self._worker_id = worker_id
        self._expiry_s = expiry_s
        self._on_leases = on_leases
        self._clock = clock
        self._now_ms = now_ms
        self._leases: dict[str, Lease] = {}
        self._seen: dict[str, _Seen] = {}
        self._leases_at = float("-inf")
        self._failing = False

    def round(self) -> None:
        """Set the lag of every shard in the status. Never raises for what AWS answers."""
        now = self._clock()
        try:
            if now - self._leases_at >= LEASES_S:
                self._read_leases(now)
            self._status.set_lags(self._lags(now))
        except (BotoCoreError, ClientError) as error:
            if not self._failing:
                log.warning("the lag of silent shards is not known: %s", error)
            self._failing = True
        else:
            self._failing = False

    def _read_leases(self, now: float) -> None:
        leases = self._stream.leases()
        self._leases_at = now
        self._leases = {lease.shard: lease for lease in leases}
        for lease in leases:
            seen = self._seen.get(lease.shard)
            if seen is None or seen.counter != lease.counter:
                self._seen[lease.shard] = _Seen(lease.counter, now)
        if self._on_leases is not None:
            self._on_leases(leases)

    def _lags(self, now: float) -> dict[str, int]:
        progress = self._status.progress()
        lags: dict[str, int] = {}
        for shard, mine in progress.items():
            if mine.silent_s < SILENT_S and not mine.lease_lost:
                lags[shard] = mine.behind_ms or 0
        for shard, lease in self._leases.items():
            if shard not in lags and self._answers_for(lease, now):
                after = _reached(progress.get(shard), lease)
                if after != SHARD_END:
                    arrived = self._stream.waiting_since(shard, after)
                    lags[shard] = 0 if arrived is None else max(0, self._now_ms() - arrived)
        return lags

    def _answers_for(self, lease: Lease, now: float) -> bool:
        if lease.owner in ("", self._worker_id()):
            return True
        return now - self._seen[lease.shard].at > self._expiry_s


def _reached(progress: ShardProgress | None, lease: Lease) -> str:
    """After which record a silent shard's next record is looked for: the last that its process
    received, or the checkpoint when that process is gone."""
    if lease.ended or progress is None or progress.gone:
        return lease.checkpoint
    return progress.newest or lease.checkpoint


@contextmanager
def monitored(monitor: LagMonitor, every_s: float = ROUND_S) -> Iterator[None]:
    """Run the monitor, in a thread, while the context lasts."""

    def run(ending: threading.Event) -> None:
        while not ending.wait(every_s):
            monitor.round()

    with on_duty("lag", run):
        yield


class AwsStream:
    """:class:`Stream` over two clients, with the worker's rights: one scan of the lease table for
    each :data:`LEASES_S`, and two small calls for each silent shard and round."""

    def __init__(self, dynamodb: Any, kinesis: Any, *, application: str, stream: str) -> None:
        self._dynamodb = dynamodb
        self._kinesis = kinesis
        self._application = application
        self._stream_name = stream

    def leases(self) -> list[Lease]:
        """As :class:`Stream`."""
        return read_leases(self._dynamodb, self._application)

    def waiting_since(self, shard: str, after: str) -> int | None:
        """As :class:`Stream`. ``LATEST`` has nothing before it, so nothing waits."""
        if after == "LATEST":
            return None
        where: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if after not in _POSITIONS:
            where = {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": after,
            }
        iterator = self._kinesis.get_shard_iterator(
            StreamName=self._stream_name, ShardId=shard, **where
        )["ShardIterator"]
        answer = self._kinesis.get_records(ShardIterator=iterator, Limit=1)
        if answer["Records"]:
            return int(answer["Records"][0]["ApproximateArrivalTimestamp"].timestamp() * 1000)
        behind_ms = answer.get("MillisBehindLatest", 0)  # an answer can be empty before the tip
        return time.time_ns() // 1_000_000 - behind_ms if behind_ms else None
