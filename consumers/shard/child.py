"""The process of one shard (a *child*): the KCL daemon starts it, talks to it over pipes, and ends
it.

stdout is the channel to the daemon. The process keeps a duplicate of it and points file descriptor
1 at stderr, so that a stray ``print`` does not break the protocol.

The process exits at once when its input ends, whatever it is doing: a daemon that is gone has lost
its leases. It ignores SIGTERM and SIGINT, because the daemon says when to stop.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from consumers import failpoints
from consumers.archive.commit import Archive, Limits
from consumers.archive.parquet import SegmentFile
from consumers.archive.s3 import S3Store
from consumers.aws.clients import Clients, open_clients
from consumers.aws.in_flight import InFlight
from consumers.config import WORKER_VARIABLE, ChildConfig, from_environment
from consumers.exceptions import ConsumerError, ProtocolError
from consumers.hot.dynamodb import DynamoStore, WatchedReader
from consumers.hot.figures import figures
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.runs import Kept
from consumers.hot.store import HotStore
from consumers.kcl.protocol import Action
from consumers.logs import ROOT
from consumers.schemas.at_work import SchemasAtWork
from consumers.shard.journal import Journal
from consumers.shard.pipe import Pipe
from consumers.shard.processor import ShardProcessor
from consumers.shard.report import BUSY_S, Activity, LogHandler, ShardStats

log: Final = logging.getLogger(__name__)

CALLS_IN_FLIGHT: Final = 8
"""Calls of DynamoDB that one shard has in flight at once. Two keep a core busy at 2.5 ms a call,
eight at 20 ms; each costs a thread and a connection."""

Open = Callable[[str], tuple[ShardProcessor, ShardStats]]


def serve(pipe: Pipe, open_shard: Open) -> None:
    """Work through the daemon's actions until its input ends."""
    shard: tuple[ShardProcessor, ShardStats] | None = None
    for action, answered in pipe.turns():
        if action.action == "initialize":
            shard = open_shard(action.shard_id)
        elif shard is not None and answered:
            _repeat(action, *shard)
        elif shard is not None:
            _act(action, *shard)
        if not answered:
            pipe.answer(action.action, covered=shard is None or shard[0].is_covered)


def _repeat(action: Action, processor: ShardProcessor, stats: ShardStats) -> None:
    """Do again what a predecessor did in memory; the daemon does not wait for it."""
    if action.action == "processRecords":
        processor.process(action.records, may_checkpoint=False)
        stats.on_batch_done(action.records, processor.uncommitted_since)
    elif action.action == "leaseLost":
        processor.lease_lost = True


def _act(action: Action, processor: ShardProcessor, stats: ShardStats) -> None:
    if action.action == "processRecords":
        stats.report.behind_ms = action.millis_behind_latest
        failpoints.hit("decoded")
        processor.behind_ms = action.millis_behind_latest or 0
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
    config: ChildConfig, pipe: Pipe, handler: LogHandler, activity: Activity, replaced: int
) -> Open:
    clients = open_clients(config)
    lateness = LatenessPolicy(config.tiers, config.clock_ahead_s)

    def open_shard(shard: str) -> tuple[ShardProcessor, ShardStats]:
        handler.shard = activity.shard = shard
        stats = ShardStats(shard, _now_ms)
        stats.report.replaced = replaced
        traces = None
        durable: Callable[[str, Sequence[Kept]], None] = stats.durable
        if config.traces_endpoint is not None:
            from consumers.traces.shard_traces import open_traces

            traces = open_traces(config, shard, stats.on_traced)
            durable = traces.beside(stats.durable)
        store = DynamoStore(clients.dynamodb)
        hot = HotStore(
            store,
            windows_table=config.windows_table,
            devices_table=config.devices_table,
            tiers=config.tiers,
            latest_flush_s=config.latest_flush_s,
            now_ms=_now_ms,
            durable=durable,
            calls=InFlight(CALLS_IN_FLIGHT),
        )
        stats.hot, stats.busy_s = partial(figures, hot), activity.busy_s
        archive = Archive(
            S3Store(clients.s3, config.bucket, stats.puts.add),
            shard,
            Limits(config.segment_readings, config.segment_bytes, config.segment_age_s),
            lambda: SegmentFile(shard),
            calls=InFlight(1),
        )
        acknowledger = None
        if clients.iot_data is not None:
            from consumers.shard.acknowledgement_publisher import Publisher, ShardAcknowledger

            acknowledger = ShardAcknowledger(
                Publisher(clients.iot_data, partial(log.warning, "%s")), config.stack
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
            read_watched=WatchedReader(clients.dynamodb, config.status_table, time.time)
            if config.status_table
            else None,
            traces=traces,
            refresh_rules=_rules_at_work(config, clients, store, shard, stats)
            if config.alerts_table
            else None,
            judge_for=SchemasAtWork(
                clients.dynamodb, config.status_table, store, config.devices_table
            ).judge_for
            if config.status_table
            else None,
        )
        activity.steps = lambda: processor.received + hot.items_written
        if config.flush_when_idle:
            pipe.on_idle = partial(processor.process, (), may_checkpoint=False)
        stats.send_due(time.monotonic(), force=True)  # a first batch may take minutes
        return processor, stats

    return open_shard


def _rules_at_work(
    config: ChildConfig, clients: Clients, store: DynamoStore, shard: str, stats: ShardStats
) -> Callable[[HotStore], None]:
    """What gives a hot store the alert rules. Nothing of them is imported where they are off."""
    from consumers.alerts.store import RulesAtWork

    calls = InFlight(CALLS_IN_FLIGHT)
    worker_id = os.environ.get(WORKER_VARIABLE, "")
    return RulesAtWork(
        config, clients.dynamodb, shard, worker_id, store, time.monotonic, calls,
        stats.on_transitions,
    )  # fmt: skip


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _leave_with_daemon(activity: Activity, journal: Journal | None) -> None:
    """End this process as soon as the daemon's end of the input pipe is closed. Until then, tell
    the supervisor when an action takes long, and the fork server that this process runs."""
    watched = select.poll()
    watched.register(0, 0)  # no events but the hang-up, which is always reported
    while not watched.poll(BUSY_S * 1000):
        activity.tell(time.monotonic())
        if journal is not None:
            journal.beat(time.monotonic(), activity.steps())
    os._exit(0)


def main(journal: Journal | None = None, replaced: int = 0) -> int:
    """Run until the daemon is done with the shard; 1 when the work cannot go on. ``replaced`` is
    how many processes of this shard died before this one."""
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
    threading.Thread(target=_leave_with_daemon, args=(activity, journal), daemon=True).start()
    pipe = Pipe(sys.stdin.buffer, channel, activity=activity, journal=journal)
    try:
        serve(pipe, _opener(config, pipe, handler, activity, replaced))
    except ConsumerError as error:
        log.critical("%s", error)
        if journal is not None and isinstance(error, ProtocolError):
            journal.give_up()  # a successor would read the same
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
