"""A whole stack on this machine: embedded AWS, template, roles, worker. Used by ``demo`` and
``up``; what it starts, it stops."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from consumers.logs import logging_to
from consumers.worker.status_server import StatusServer
from consumers.worker.supervisor import Worker
from infra.aws.stacks.run_stack import deploy_for_run, lease_shards, roles_in
from infra.console import Stages, UserError
from infra.emulator.process import Emulator, EmulatorError
from infra.emulator.profile import STRICT, Profile
from infra.target import Target
from infra.worker.assembly import await_shards, supervised, worker_of
from ingest.settings import Settings, SettingsError, load
from ingest.tiers import LOCAL_TIERS
from simulator.signals import UNITS

FREE_SPACE: Final = 500 * 1024 * 1024
SHARDS: Final = 2
REPORT_S: Final = 1.0

LOCAL_DEFAULTS: Final[dict[str, Any]] = {
    "tiers": LOCAL_TIERS,
    "latest_flush_s": 2.0,
    "segment_age_s": 5.0,
    "failover_ms": 1000,
    "shutdown_grace_s": 5,
    "idle_ms": 200,
    "redrive_s": 5.0,
    "units": dict(UNITS),
    "lake_catalog": "sqlite",
}
"""Defaults of a local run where they differ from those on AWS: windows, segments and leases are
short-lived, so that a person who watches sees them. A setting that the user made wins."""

LOCAL_SETTINGS: Final[dict[str, Any]] = {**LOCAL_DEFAULTS, "kinesis_cbor": False}
"""The same with what the embedded AWS needs whatever the user says."""


@dataclass(frozen=True)
class LocalOptions:
    """Where a local stack keeps its state, its ports, and how its AWS behaves. A port that is
    ``None`` is any free one; ``status_port`` ``None`` is the setting's, 0 any free one."""

    directory: Path
    port: int | None = None
    mqtt_port: int | None = None
    status_port: int | None = 0
    dashboard_port: int = 0
    persist: bool = False
    shards: int = SHARDS
    profile: Profile = STRICT


class LocalStack:
    """A running local stack. Use as a context manager, from the main thread."""

    def __init__(self, options: LocalOptions, stages: Stages, say: Callable[[str], None]) -> None:
        self._options = options
        self._stages = stages
        self._say = say
        self._exit = ExitStack()
        self.target: Target
        self.worker: Worker
        self.status_url = ""
        self.emulator_pid = 0
        self.endpoint_url = ""

    def __enter__(self) -> LocalStack:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def await_shards(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Return when a child is at work on every shard.

        :raises UserError: when that takes too long.
        :raises KeyboardInterrupt: when the user wants to stop before.
        """
        await_shards(self.worker, self._options.shards, stopping)

    def _start(self) -> None:
        check_space(self._options.directory)
        with self._stages.stage("emulator", "embedded AWS is up"):
            emulator = self._start_emulator()
        self.target = _target(emulator, self._options)
        with self._stages.stage("deploy", "CloudFormation template is deployed"):
            self._deploy()
        with self._stages.stage("worker", "KCL worker is started"):
            self._start_worker()

    def _start_emulator(self) -> Emulator:
        options = self._options
        try:
            emulator = Emulator.start(
                options.directory,
                gateway_port=options.port,
                mqtt_port=options.mqtt_port,
                persist=options.persist,
                profile=options.profile,
            )
        except EmulatorError as error:
            raise UserError(str(error)) from None
        self._exit.callback(emulator.stop)
        self.emulator_pid = emulator.pid
        self.endpoint_url = emulator.endpoint_url
        return emulator

    def _deploy(self) -> None:
        outputs = deploy_for_run(self.target, self._options.shards, interval=0.1)
        self.target.roles |= roles_in(outputs)
        lease_shards(self.target)

    def _start_worker(self) -> None:
        log = self._exit.enter_context(self._open_log())
        self._exit.enter_context(logging_to(log, self._say))
        self.worker = self._exit.enter_context(
            worker_of(
                self.target,
                directory=self._options.directory,
                output=log,
                report_s=REPORT_S,
            )
        )
        self._exit.enter_context(supervised(self.worker))
        server = self._serve_status()
        self.status_url = f"http://127.0.0.1:{server.port}"

    def _serve_status(self) -> StatusServer:
        wanted = self._options.status_port
        port = self.target.settings.status_port if wanted is None else wanted
        try:
            server = StatusServer(self.worker.status, port)
        except OSError:
            raise UserError(
                f"port {port} is busy: free it, or choose another with --status-port"
            ) from None
        return self._exit.enter_context(server)

    def _open_log(self) -> IO[bytes]:
        self._options.directory.mkdir(parents=True, exist_ok=True)
        return (self._options.directory / "worker.log").open("ab")


def _target(emulator: Emulator, options: LocalOptions) -> Target:
    settings = local_settings(
        endpoint_url=emulator.endpoint_url,
        iot_host="127.0.0.1",
        iot_port=emulator.mqtt_port,
        iot_ca=emulator.ca_path,
        devices_dir=options.directory / "devices",
        **({} if "alerts" in load().model_fields_set else {"alerts": True}),
    )
    target = Target(settings, account="", local=True)
    target.account = target.client("sts").get_caller_identity()["Account"]
    return target


def local_settings(**overrides: Any) -> Settings:
    """The user's settings, with the defaults of a local run for those that the user did not make,
    and with ``overrides``, which win over both.

    :raises UserError: when a setting is wrong.
    """
    try:
        return load(**{**local_defaults(), "kinesis_cbor": False, **overrides})
    except SettingsError as error:
        raise UserError(str(error)) from None


def local_defaults() -> dict[str, Any]:
    """The defaults of a run that somebody watches, for the settings that the user did not make.

    :raises SettingsError: when a setting is wrong.
    """
    made = load().model_fields_set
    return {name: value for name, value in LOCAL_DEFAULTS.items() if name not in made}


def check_space(directory: Path) -> None:
    """:raises UserError: when the disk has no room for a run."""
    existing = next(p for p in (directory, *directory.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < FREE_SPACE:
        raise UserError(
            f"only {free // 2**20} MiB are free at {existing.absolute()} and a local run needs "
            f"{FREE_SPACE // 2**20}: free some, or run in another folder"
        )
