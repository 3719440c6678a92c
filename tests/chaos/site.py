"""A pipeline under attack: one deployed stack with its workers, its load and its invariants.

The workers reach AWS through a :class:`~tests.chaos.proxy.Proxy`; the devices, and the code that
checks the results, bypass it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

from consumers.failpoints import VARIABLE, Point
from consumers.logs import logging_to
from infra.emulator.process import Emulator
from infra.worker.assembly import supervised, worker_of
from ingest.settings import Settings
from tests.chaos.alarms import SiteAlarms
from tests.chaos.checkpoint_watch import CheckpointWatch
from tests.chaos.invariants import Invariants
from tests.chaos.plan import Plan, Rule
from tests.chaos.proxy import Proxy
from tests.chaos.stack import DeployedStack
from tests.chaos.traffic import Expected, Traffic
from tests.harness.processes import alive, descendants
from tests.harness.waiting import until

__all__ = ["Expected", "RunningWorker", "Site"]

T = TypeVar("T")


class Ending(Protocol):
    """Something that must be ended with the site."""

    def end(self) -> None:
        """End it; done twice, it changes nothing."""


class Site(DeployedStack):
    """A stack with workers behind a proxy. Use as a context manager, from a main thread."""

    def __init__(self, emulator: Emulator, folder: Path, **options: Any) -> None:
        """``options`` as for :class:`~tests.chaos.stack.DeployedStack`."""
        super().__init__(emulator, folder, **options)
        self.workers: list[RunningWorker] = []
        self.processes: list[Ending] = []
        """What else runs until the site ends."""
        self.said: list[str] = []
        self._exit = ExitStack()
        self._numbers = itertools.count()
        traffic, checkpoints = Traffic(self), CheckpointWatch(self)
        self.alarms = SiteAlarms(self)
        invariants = Invariants(self, traffic, checkpoints, self.alarms)
        self._checkpoints = checkpoints
        self.fleet, self.load, self.publish = traffic.fleet, traffic.load, traffic.publish
        self.put, self.entries = traffic.put, traffic.entries
        self.new_ledger = traffic.new_ledger
        self.leases, self.records, self.lag = (
            invariants.leases, invariants.records, invariants.lag
        )  # fmt: skip
        self.drain, self.report, self.violations = (
            invariants.drain, invariants.report, invariants.violations
        )  # fmt: skip

    def __enter__(self) -> Site:
        self.deploy()
        self.proxy = self._exit.enter_context(Proxy(self.emulator.endpoint_url))
        self.proxy.on_call = self._checkpoints.on_call
        (self.folder / "failpoints").mkdir(exist_ok=True)
        self._exit.enter_context(logging_to(on_message=self.said.append))
        return self

    def __exit__(self, *_: object) -> None:
        for running in (*self.workers, *self.processes):
            running.end()
        self.alarms.end()
        self._exit.close()

    def start_worker(self, **changes: Any) -> RunningWorker:
        """Start a worker of its own, with ``changes`` of the settings, and return while it is
        starting."""
        worker = RunningWorker(self, self.folder / f"worker-{next(self._numbers)}", changes)
        self.workers.append(worker)
        return worker

    def environment(self) -> dict[str, str]:
        """What a daemon gets beside what every daemon gets."""
        return {VARIABLE: str(self.folder / "failpoints")}

    @property
    def worker_settings(self) -> Settings:
        """The settings, with the proxy for AWS."""
        return self.settings.model_copy(update={"endpoint_url": self.proxy.url})

    def arm(self, point: Point, action: str) -> None:
        """Let the next child that reaches a failpoint suffer."""
        (self.folder / "failpoints" / point).write_text(action)

    def struck(self, point: Point) -> bool:
        """Whether an armed failpoint was reached."""
        return not (self.folder / "failpoints" / point).exists()

    def spoil(self, *rules: Rule) -> Plan:
        """Let calls go wrong from now on."""
        self.proxy.plan = Plan(rules, self.seed, time.monotonic())
        return self.proxy.plan

    def heal(self) -> None:
        """Let all calls go well from now on."""
        self.proxy.plan = Plan()

    def until(self, probe: Callable[[], T], seconds: float, what: str) -> T:
        """What ``probe`` answers, once it is true.

        :raises AssertionError: when that does not happen within ``seconds``.
        """
        return until(probe, seconds, what)


class RunningWorker:
    """A worker with its supervisor's thread."""

    def __init__(self, site: Site, folder: Path, changes: dict[str, Any]) -> None:
        folder.mkdir(parents=True)
        self._exit = ExitStack()
        log = self._exit.enter_context((folder / "worker.log").open("ab"))
        self.worker = self._exit.enter_context(
            worker_of(
                site.target, directory=folder, output=log,
                settings=site.worker_settings.model_copy(update=changes),
                environment=site.environment(), report_s=1.0,
            )
        )  # fmt: skip
        self._exit.enter_context(supervised(self.worker))

    @property
    def daemon(self) -> int:
        """The KCL daemon's process."""
        return self.worker.pid

    def children(self) -> list[int]:
        """The children's processes."""
        fork_server = self.worker.fork_server_pid
        return [pid for pid, _ in descendants(fork_server) if alive(pid)]

    def end(self) -> None:
        """Stop it, in order."""
        self._exit.close()
