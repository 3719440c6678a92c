"""A worker's duty beside its shards: deliver the transitions of alarms. One worker of a deployment
does it, the one that holds the first shard's lease."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from consumers.alerts.delivery import Bus, Destination, Outboxes, Webhook, deliver_round
from consumers.kcl.leases import Lease
from consumers.logs import ROOT
from consumers.worker.duty import on_duty
from infra.target import Target

EVERY_S: Final = 0.5

log: Final = logging.getLogger(f"{ROOT}.alerts")


class FirstLease:
    """Whether a worker holds the first of the shards, as the lease table was last read: whoever
    does has the duties that one worker of a deployment has."""

    def __init__(self, worker_id: Callable[[], str]) -> None:
        self._worker_id = worker_id
        self._owner = ""

    def saw(self, leases: Sequence[Lease]) -> None:
        """Take a reading of the lease table."""
        living = [(one.shard, one.owner) for one in leases if not one.ended]
        self._owner = min(living, default=("", ""))[1]

    def __call__(self) -> bool:
        return bool(self._owner) and self._owner == self._worker_id()


def destinations_of(target: Target, role: str) -> list[Destination]:
    """Where a deployment's transitions go: its bus, and its webhook if it has one."""
    settings = target.settings
    found: list[Destination] = [Bus(target.client("events", role), settings.alerts_bus)]
    if settings.alert_webhook:
        found.append(Webhook(settings.alert_webhook, settings.alert_webhook_secret))
    return found


@contextmanager
def delivering(
    outboxes: Outboxes,
    destinations: Sequence[Destination],
    is_mine: Callable[[], bool],
    every_s: float = EVERY_S,
) -> Iterator[None]:
    """Deliver from a thread while the context lasts, as long as ``is_mine`` says so."""

    def run(ending: threading.Event) -> None:
        failing = False
        while not ending.wait(every_s):
            if not is_mine():
                continue
            try:
                while deliver_round(outboxes, destinations, ending.is_set):
                    pass
                failing = False
            except (ClientError, BotoCoreError) as error:
                if not failing:
                    log.warning("alarms are not delivered: %s", error)
                failing = True

    with on_duty("alerts", run):
        yield
