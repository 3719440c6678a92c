"""A worker's duties beside its shards: deliver the transitions of alarms, and decide the rules that
are about devices of every shard. One worker of a deployment does it, the one that holds the first
shard's lease."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from consumers.alerts.delivery import Bus, Destination, Outboxes, Webhook, deliver
from consumers.aws.in_flight import InFlight
from consumers.exceptions import ConsumerError
from consumers.fleet.duty import FleetDuty
from consumers.fleet.shards import Shards
from consumers.fleet.tables import DynamoTables
from consumers.hot.dynamodb import DynamoStore
from consumers.kcl.leases import Lease
from consumers.logs import ROOT
from consumers.worker.duty import on_duty
from infra.target import Target

EVERY_S: Final = 0.25
"""How often all outboxes are looked into (s): the worker on duty is notified of those that its own
shards fill, and of no other."""
FLEET_S: Final = 1.0
FAILED_S: Final = 5.0
"""The time after which the rules of the fleet begin anew when a round failed."""

CALLS_IN_FLIGHT: Final = 8

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


class Told:
    """Devices in whose outboxes something was just put, told by one thread to another."""

    def __init__(self) -> None:
        self._some = threading.Condition()
        self._devices: dict[str, None] = {}

    def tell(self, devices: Sequence[str]) -> None:
        """Something was put into the outboxes of these devices."""
        with self._some:
            self._devices |= dict.fromkeys(devices)
            self._some.notify()

    def take(self, timeout_s: float) -> list[str]:
        """The devices that were told of, once there are some or the time is over."""
        with self._some:
            self._some.wait_for(lambda: self._devices, timeout_s)
            taken, self._devices = list(self._devices), {}
        return taken


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
    told: Told,
    every_s: float = EVERY_S,
) -> Iterator[None]:
    """Deliver from a thread while the context lasts, as long as ``is_mine`` says so: what it is
    ``told`` of at once, all else when it looks into the outboxes."""

    def run(ending: threading.Event) -> None:
        failing = False
        look_at = 0.0
        while not ending.is_set():
            devices = told.take(max(0.0, look_at - time.monotonic()))
            if not is_mine():
                look_at = time.monotonic() + every_s
                continue
            try:
                if devices:
                    deliver(outboxes, outboxes.of(devices), destinations, ending.is_set)
                if time.monotonic() >= look_at:
                    while deliver(outboxes, outboxes.waiting(), destinations, ending.is_set):
                        pass
                    look_at = time.monotonic() + every_s
                failing = False
            except (ClientError, BotoCoreError) as error:
                if not failing:
                    log.warning("alarms are not delivered: %s", error)
                failing = True
                look_at = time.monotonic() + every_s

    with on_duty("alerts", run):
        yield


def fleet_duty(target: Target, role: str, shards: Shards) -> FleetDuty:
    """The rules of silence and of groups of a deployment, to be decided by this worker."""
    settings = target.settings
    writing = target.session(role).client(  # it must not retry by itself, see DynamoStore
        "dynamodb",
        endpoint_url=settings.endpoint_url,
        config=Config(
            connect_timeout=5, read_timeout=20, max_pool_connections=2 * CALLS_IN_FLIGHT,
            retries={"total_max_attempts": 1, "mode": "standard"},
        ),
    )  # fmt: skip
    return FleetDuty(
        tables=DynamoTables(
            writing, alerts=settings.alerts_table, devices=settings.devices_table,
            windows=settings.windows_table, status=settings.status_table, finest=settings.tiers[0],
        ),
        store=DynamoStore(writing),
        alerts_table=settings.alerts_table,
        tiers=settings.tiers,
        latest_flush_s=settings.latest_flush_s,
        shards=shards,
        calls=InFlight(CALLS_IN_FLIGHT),
    )  # fmt: skip


@contextmanager
def watching_fleet(
    duty: FleetDuty, is_mine: Callable[[], bool], every_s: float = FLEET_S
) -> Iterator[None]:
    """Decide the rules of the fleet from a thread while the context lasts, as long as ``is_mine``
    says so."""

    def run(ending: threading.Event) -> None:
        failing = False
        pause = every_s
        while not ending.wait(pause):
            pause = every_s
            if not is_mine():
                duty.forget()
                continue
            try:
                duty.round()
                failing = False
            except (ClientError, BotoCoreError, ConsumerError) as error:
                if not failing:
                    log.warning("rules of silence and of groups are not decided: %s", error)
                failing = True
                duty.forget()
                pause = FAILED_S

    with on_duty("fleet", run):
        yield
