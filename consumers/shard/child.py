"""The process of one shard (a *child*): the KCL daemon starts it, talks to it over pipes, and ends
it.

stdout is the channel to the daemon. The process keeps a duplicate of it and points file descriptor
1 at stderr, so that a stray ``print`` does not break the protocol.

The process exits at once when its input ends, whatever it is doing: a daemon that is gone has lost
its leases. It ignores SIGTERM and SIGINT, because the daemon says when to stop.
"""

from __future__ import annotations

import io
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Final

from consumers import failpoints
from consumers.archive.commit import Archive, Limits
from consumers.archive.parquet import SegmentFile
from consumers.archive.s3 import S3Store
from consumers.aws.backoff import Backoff
from consumers.aws.clients import open_clients
from consumers.aws.in_flight import InFlight
from consumers.config import ChildConfig, from_environment
from consumers.exceptions import ConsumerError, ProtocolError
from consumers.hot.dynamodb import DynamoStore
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.store import HotStore
from consumers.kcl.position import Position
from consumers.kcl.protocol import Action, checkpoint_line, parse, status_line
from consumers.logs import ROOT
from consumers.shard.processor import ShardProcessor
from consumers.shard.report import BUSY_S, Activity, LogHandler, ShardStats

log: Final = logging.getLogger(__name__)

CALLS_IN_FLIGHT: Final = 8
"""Calls of DynamoDB that one shard has in flight at once. Two keep a core busy at 2.5 ms a call,
eight at 20 ms; each costs a thread and a connection."""

_RETRIED: Final = frozenset({"ThrottlingException", "KinesisClientLibDependencyException"})
_LOST: Final = frozenset({"ShutdownException"})


class Pipe:
    """The channel to the daemon: lines in, lines out, and checkpoints in between."""

    def __init__(
        self,
        source: io.BufferedIOBase | BinaryIO,
        sink: BinaryIO,
        backoff: Callable[[], Backoff] = Backoff,
        activity: Activity | None = None,
    ) -> None:
        self._activity = activity or Activity()
        self._source = source
        self._sink = sink
        self._backoff = backoff

    def read(self) -> Action | None:
        """The next action; ``None`` at the end of input."""
        self._activity.ended()
        while line := self._source.readline():
            if stripped := line.strip():
                self._activity.began(time.monotonic())
                return parse(stripped)
        return None

    def write(self, line: bytes) -> None:
        """Send one line, now."""
        self._sink.write(line)
        self._sink.flush()

    def checkpoint(self, position: Position | None) -> bool:
        """See :class:`consumers.shard.processor.Checkpointer`.

        :raises ProtocolError: when the daemon refuses for a reason that no retry mends.
        """
        backoff = self._backoff()
        while True:
            self.write(checkpoint_line(position))
            answer = self.read()
            if answer is None or answer.action != "checkpoint":
                raise ProtocolError(f"the daemon answered a checkpoint with {answer!r:.200}")
            if not answer.error:
                return True
            if answer.error in _LOST:
                return False
            if answer.error not in _RETRIED:
                raise ProtocolError(f"the KCL refuses a checkpoint at {position}: {answer.error}")
            backoff.wait(f"the KCL keeps refusing a checkpoint: {answer.error}")


def serve(pipe: Pipe, open_shard: Callable[[str], tuple[ShardProcessor, ShardStats]]) -> None:
    """Work through the daemon's actions until its input ends."""
    shard: tuple[ShardProcessor, ShardStats] | None = None
    while (action := pipe.read()) is not None:
        if action.action == "initialize":
            shard = open_shard(action.shard_id)
        elif shard is not None:
            _act(action, *shard)
        pipe.write(status_line(action.action))


def _act(action: Action, processor: ShardProcessor, stats: ShardStats) -> None:
    if action.action == "processRecords":
        stats.report.behind_ms = action.millis_behind_latest
        failpoints.hit("decoded")
        processor.process(action.records)
        stats.on_batch_done(action.records, processor.uncommitted_since)
    elif action.action == "leaseLost":
        processor.lease_lost = True
    elif action.action == "shardEnded":
        processor.end_shard()
        stats.report.ended = True
    elif action.action == "shutdownRequested":
        failpoints.hit("shutdown_requested")
        processor.shut_down()
    else:
        raise ProtocolError(f"unknown action {action.action!r}")
    stats.report.lease_lost = processor.lease_lost
    stats.send_due(time.monotonic(), force=action.action != "processRecords")


def _opener(
    config: ChildConfig, pipe: Pipe, handler: LogHandler, activity: Activity
) -> Callable[[str], tuple[ShardProcessor, ShardStats]]:
    clients = open_clients(config)
    lateness = LatenessPolicy(config.tiers, config.clock_ahead_s)

    def open_shard(shard: str) -> tuple[ShardProcessor, ShardStats]:
        handler.shard = activity.shard = shard
        stats = ShardStats(shard, _now_ms)
        hot = HotStore(
            DynamoStore(clients.dynamodb),
            windows_table=config.windows_table,
            devices_table=config.devices_table,
            tiers=config.tiers,
            latest_flush_s=config.latest_flush_s,
            now_ms=_now_ms,
            durable=stats.durable,
            calls=InFlight(CALLS_IN_FLIGHT),
        )
        archive = Archive(
            S3Store(clients.s3, config.bucket, stats.puts.add),
            shard,
            Limits(config.segment_readings, config.segment_bytes, config.segment_age_s),
            lambda: SegmentFile(shard),
        )
        acknowledger = None
        if clients.iot_data is not None:
            from consumers.shard.acknowledgement_publisher import Publisher, ShardAcknowledger

            acknowledger = ShardAcknowledger(
                Publisher(clients.iot_data, partial(log.warning, "%s"))
            )
            stats.acknowledgements = lambda: acknowledger.counts
        processor = ShardProcessor(
            hot=hot,
            archive=archive,
            lateness=lateness,
            checkpointer=pipe,
            stats=stats,
            clock=time.monotonic,
            acknowledger=acknowledger,
        )
        return processor, stats

    return open_shard


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _leave_with_daemon(activity: Activity) -> None:
    """End this process as soon as the daemon's end of the input pipe is closed. Until then, tell
    the supervisor when an action takes long."""
    watched = select.poll()
    watched.register(0, 0)  # no events but the hang-up, which is always reported
    while not watched.poll(BUSY_S * 1000):
        activity.tell(time.monotonic())
    os._exit(0)


def main() -> int:
    """Run until the daemon is done with the shard; 1 when the work cannot go on."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        config = from_environment()
    except KeyError:
        print("this process is started by penstock consume, one for each shard", file=sys.stderr)
        return 2
    handler = LogHandler()
    logging.getLogger(ROOT).addHandler(handler)
    logging.getLogger(ROOT).setLevel(logging.INFO)
    activity = Activity()
    threading.Thread(target=_leave_with_daemon, args=(activity,), daemon=True).start()
    pipe = Pipe(sys.stdin.buffer, channel, activity=activity)
    try:
        serve(pipe, _opener(config, pipe, handler, activity))
    except ConsumerError as error:
        log.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
