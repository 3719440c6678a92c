"""Runs the KCL daemon of a worker, and restarts it when it ends.

A child that dies gets a successor from the fork server. One that has no successor ends the daemon,
and with it every shard of this worker stops. So the daemon is restarted: at once after a long life,
with growing delays after short ones.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from botocore.exceptions import BotoCoreError, ClientError

from consumers.config import WORKER_VARIABLE, child_config, to_environment
from consumers.kcl import daemon
from consumers.kcl.capacity import capacity
from consumers.kcl.jars import installed_version
from consumers.kcl.leases import Lease
from consumers.logs import SHARDS
from consumers.memory import memory_mb
from consumers.shard import report as stats
from consumers.worker.launch import child_command
from consumers.worker.progress import Progress
from consumers.worker.spawn import spawn, stop
from consumers.worker.status import WorkerStatus
from ingest.settings import Settings

log: Final = logging.getLogger(__name__)

RESTART_DELAYS_S: Final = (0.0, 0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
LONG_LIFE_S: Final = 60.0
STOP_MARGIN_S: Final = 10.0
STARVING_S: Final = 30.0
"""After this time without anything from the daemon, while records wait, the daemon is restarted."""
LONGEST_ATTEMPT_S: Final = 30.0
EXIT_CAUSES: Final = {1: "child_failed", 3: "out_of_memory"}
"""The daemon's exit codes after a child failed, and by ``-XX:+ExitOnOutOfMemoryError``."""


class Worker:
    """One KCL daemon with its children. Use as a context manager, from the main thread."""

    def __init__(
        self,
        settings: Settings,
        account: str,
        *,
        directory: Path,
        environment: Mapping[str, str],
        output: IO[bytes],
        release: Callable[[str], object],
        leader: Callable[[], str] = lambda: "",
    ) -> None:
        """All files of the worker are in ``directory``, which exists and is the caller's to
        remove. ``environment`` is the daemon's whole environment, credentials included; its own
        output goes to ``output``. ``release`` gives back what a dead daemon of this worker id held
        (:func:`consumers.kcl.leases.release`); ``leader`` is who assigns leases.

        :raises SettingsError: when the settings do not fit into this machine's memory, or name no
            KCL.
        """
        self.kcl = installed_version(settings)
        self.status = WorkerStatus()
        self.capacity = capacity(settings, memory_mb())
        self.status.heap_mb = self.capacity.heap_mb
        self._settings = settings
        self._environment = {**environment, **to_environment(child_config(settings, account))}
        self._output = output
        self._release = release
        self._leader = leader
        self._progress = Progress("", self.capacity.leases)
        self._directory = directory.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._fork_server: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._attempt_timeout_s = settings.attempt_timeout_s
        self.pid = self.fork_server_pid = 0
        self.worker_id = ""
        self.on_transitions: Callable[[Sequence[str]], None] = lambda _: None
        """Is told devices of which a child has just recorded transitions of alarms."""

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process, self._settings.shutdown_grace_s + STOP_MARGIN_S)
            self._stop_fork_server()
            self._give_back()
        if self._reader is not None:
            self._reader.join(5)

    def start(self) -> None:
        """Start the daemon, under a worker id of its own."""
        self.worker_id = f"{socket.gethostname()}-{uuid.uuid4()}"
        self._environment[WORKER_VARIABLE] = self.worker_id
        fork_server = self._start_fork_server()
        file = self._directory / "kcl.properties"
        values = daemon.properties(
            self._settings,
            self.capacity,
            self.worker_id,
            child_command(fork_server),
            attempt_timeout_s=self._attempt_timeout_s,
        )
        file.write_text(daemon.properties_text(values))
        self._process = spawn(
            daemon.command(file, self._settings, self.capacity),
            env=self._environment,
            stdout=self._output,
            stderr=subprocess.PIPE,
        )
        self.pid = self.status.daemon_pid = self._process.pid
        self._progress = Progress(self.worker_id, self.capacity.leases)
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stderr,), daemon=True
        )
        self._reader.start()

    def _start_fork_server(self) -> Path | None:
        """Start the fork server; return the directory in which it listens, or ``None`` without
        one."""
        if sys.platform != "linux":  # elsewhere a child would outlive its fork server
            return None
        self._fork_server = spawn(
            [sys.executable, "-m", "consumers.shard.fork_server", str(self._directory)],
            env=self._environment,
            stdout=self._output,
            stderr=self._output,
        )
        self.fork_server_pid = self._fork_server.pid
        return self._directory

    def _stop_fork_server(self) -> None:
        if self._fork_server is not None:
            stop(self._fork_server, 0)
            self._fork_server = None

    def exit_code(self) -> int | None:
        """The daemon's exit code, or ``None`` while it runs."""
        return None if self._process is None else self._process.poll()

    def saw_leases(self, leases: Sequence[Lease]) -> None:
        """Take a reading of the lease table; from any thread."""
        self._progress.saw(leases, self._leader, time.monotonic())

    def run(self, stopping: threading.Event, clock: Callable[[], float]) -> None:
        """Keep the daemon alive, and at work, until ``stopping`` is set."""
        short_lives = 0
        started = clock()
        while not stopping.wait(0.2):
            cause = self._why_restart()
            if cause is None:
                continue
            short_lives = 0 if clock() - started > LONG_LIFE_S else short_lives + 1
            delay = RESTART_DELAYS_S[min(short_lives, len(RESTART_DELAYS_S) - 1)]
            if stopping.wait(delay):
                return
            self._reap()
            self.start()
            self.status.restarted(cause)
            started = clock()

    def _why_restart(self) -> str | None:
        """Why the daemon must be started again, or ``None``; one that fails to work on a shard is
        ended for that."""
        code = self.exit_code()
        if code is not None:
            self._log.warning("the KCL daemon left with exit code %s; starting it again", code)
            return EXIT_CAUSES.get(code, "killed" if code < 0 else "exit")
        if shards := self.status.starving(STARVING_S):
            return self._end_idle_daemon(shards)
        working = self.status.working()
        cause = self._progress.restart_cause(working, time.monotonic())
        if cause is not None and self._process is not None:
            self._log.warning("%s; restarting the KCL daemon", self._progress.not_ready(working))
            stop(self._process, self._settings.shutdown_grace_s + STOP_MARGIN_S)
        self.status.watched(self._progress.not_ready(working))
        return cause

    def _end_idle_daemon(self, shards: Sequence[str]) -> str:
        """End a daemon that hands over nothing while records wait: it is frozen, or its connection
        to Kinesis is silent, or answers take longer than ``attempt_timeout_s``. The next daemon has
        new connections, and waits twice as long for an answer."""
        if self._attempt_timeout_s is not None:
            self._attempt_timeout_s = min(2 * self._attempt_timeout_s, LONGEST_ATTEMPT_S)
        self._log.warning(
            "the KCL daemon has handed over nothing of %s for %.0f s while records wait",
            ", ".join(shards), STARVING_S,
        )  # fmt: skip
        if self._process is not None:
            stop(self._process, 0)
        return "silent"

    def _reap(self) -> None:
        """End all processes of the old daemon, so that none writes when the new one has started."""
        if self._process is not None:
            stop(self._process, 0)
        self._stop_fork_server()
        if self._reader is not None:
            self._reader.join(5)
        self.status.daemon_ended()
        self._give_back()

    def _give_back(self) -> None:
        """Release what the dead daemon held. Without this the KCL would still assign leases to it
        for a minute."""
        try:
            self._release(self.worker_id)
        except (BotoCoreError, ClientError) as error:
            self._log.warning(
                "the leases of the daemon that ended stay until they expire: %s", error
            )

    def _read(self, source: IO[bytes]) -> None:
        with source:
            for line in source:
                parsed = stats.parse(line)
                if isinstance(parsed, stats.ShardReport):
                    self.status.report(parsed)
                elif isinstance(parsed, stats.ShardBusy):
                    self.status.busy(parsed)
                elif isinstance(parsed, stats.Transitions):
                    self.on_transitions(parsed.devices)
                elif isinstance(parsed, stats.LogLine):
                    self.status.log(parsed)
                    self._log_of_shard(parsed)
                else:
                    self._output.write(line)
                    self._output.flush()

    def _log_of_shard(self, line: stats.LogLine) -> None:
        level = logging.getLevelNamesMapping().get(line.level.upper(), logging.ERROR)
        extra = {"worker": self.worker_id, "shard": line.shard or "child", "error": line.error}
        logging.getLogger(SHARDS).log(level, "%s", line.message, extra=extra)

    @property
    def _log(self) -> logging.LoggerAdapter[logging.Logger]:
        return logging.LoggerAdapter(log, {"worker": self.worker_id})
