"""A worker of a deployment with all that belongs to it: its role's credentials, its daemon, its
report in the status table. Used by ``consume``, by the local stack and by the fault suite."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Final

from consumers.alerts.delivery import Outboxes
from consumers.fleet.shards import Shards
from consumers.kcl.leases import Lease, read_leader, release
from consumers.worker.lag import AwsStream, LagMonitor, monitored
from consumers.worker.launch import daemon_environment
from consumers.worker.status_table import REPORT_S, reporting
from consumers.worker.supervisor import Worker
from infra.aws.credentials import serve_credentials
from infra.console import UserError
from infra.target import Target
from infra.worker.alerting import (
    FirstLease,
    Told,
    delivering,
    destinations_of,
    fleet_duty,
    watching_fleet,
)
from infra.worker.redriving import redriving
from ingest.settings import Settings, SettingsError

ROLE: Final = "worker"
LEASES_S: Final = 90.0
SETTLE_MS: Final = 5_000
"""What a flush may take beside the time for which a window waits."""


@contextmanager
def worker_of(
    target: Target,
    *,
    directory: Path,
    output: IO[bytes],
    settings: Settings | None = None,
    environment: Mapping[str, str] | None = None,
    report_s: float = REPORT_S,
) -> Iterator[Worker]:
    """Start a worker, and stop it in order when the context ends. Use it from the main thread.

    ``directory`` holds the worker's files; it exists, and is the caller's to remove. The daemon's
    own output goes to ``output``. ``settings`` are those of the target unless given: the fault
    suite sends the daemon, and what delivers and decides alarms, through a proxy. ``environment``
    is added to the daemon's. The status table gets a report every ``report_s`` seconds.

    :raises UserError: when the settings do not fit into this machine's memory, or name no KCL.
    """
    settings = settings or target.settings
    with ExitStack() as stack:
        credentials = None
        if ROLE in target.roles:
            credentials = stack.enter_context(
                serve_credentials(lambda: target.assume_with_expiry(ROLE))
            )
        dynamodb = target.client("dynamodb", ROLE)
        try:
            worker = Worker(
                settings,
                target.account,
                directory=directory,
                environment={**daemon_environment(settings, credentials), **(environment or {})},
                output=output,
                release=partial(release, dynamodb, settings.application),
                leader=partial(read_leader, dynamodb, settings.application),
            )
        except SettingsError as error:
            raise UserError(str(error)) from None
        stack.enter_context(worker)
        stack.enter_context(reporting(dynamodb, settings.status_table, worker.status, report_s))
        is_first = FirstLease(lambda: worker.worker_id)
        shards = Shards(settle_ms=int(settings.tiers[0].flush_s * 1000) + SETTLE_MS)

        def saw_leases(leases: Sequence[Lease]) -> None:
            worker.saw_leases(leases)
            is_first.saw(leases)
            shards.saw(leases)

        if settings.alerts:
            alerting = replace(target, settings=settings)
            outboxes = Outboxes(alerting.client("dynamodb", ROLE), settings.alerts_table)
            told = Told()
            worker.on_transitions = told.tell
            stack.enter_context(
                delivering(outboxes, destinations_of(alerting, ROLE), is_first, told)
            )
            stack.enter_context(watching_fleet(fleet_duty(alerting, ROLE, shards), is_first))
        kinesis = target.client("kinesis", ROLE)
        aws = AwsStream(dynamodb, kinesis, application=settings.application, stream=settings.stream)
        monitor = LagMonitor(
            worker.status,
            aws,
            lambda: worker.worker_id,
            expiry_s=3 * settings.failover_ms / 1000,
            on_leases=saw_leases,
        )
        stack.enter_context(monitored(monitor))
        if settings.redrive_s:
            stack.enter_context(
                redriving(
                    target.client("sqs", ROLE),
                    kinesis,
                    queue=settings.error_queue,
                    stream=settings.stream,
                    every_s=settings.redrive_s,
                )
            )
        yield worker


@contextmanager
def supervised(worker: Worker) -> Iterator[None]:
    """Restart the worker's daemon when it dies, from a thread, while the context lasts."""
    stopping = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stopping, time.monotonic))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def await_shards(worker: Worker, shards: int, stopping: Callable[[], bool] = lambda: False) -> None:
    """Return when so many shards are read: each has a child that got a batch, if an empty one.

    :raises UserError: when that takes too long.
    :raises KeyboardInterrupt: when the user wants to stop before.
    """
    deadline = time.monotonic() + LEASES_S
    while _read_shards(worker) < shards:
        if stopping():
            raise KeyboardInterrupt
        if time.monotonic() > deadline:
            raise UserError(
                f"the worker did not get its shards within {LEASES_S:.0f} s: see worker.log"
            )
        time.sleep(0.05)


def _read_shards(worker: Worker) -> int:
    """How many shards a child has got a batch of. A child reports before its first one too."""
    progress = worker.status.progress().values()
    return sum(not one.gone and one.behind_ms is not None for one in progress)
