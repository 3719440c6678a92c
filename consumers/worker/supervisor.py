"""``penstock consume``: run the KCL daemon, restart it when it dies, and serve its status.

A child that dies makes the daemon leave, and with it every shard on this host stops. So the
daemon is restarted, at once after a long life, ever later after short ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from consumers.config import child_config, to_environment
from consumers.kcl import daemon
from consumers.shard import report as stats
from consumers.worker.prometheus import prometheus
from consumers.worker.spawn import spawn, stop
from consumers.worker.status import WorkerStatus
from ingest.settings import Settings

RESTART_DELAYS_S: Final = (0.0, 0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
LONG_LIFE_S: Final = 60.0
ARROW: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others keep what they no longer use
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # no thread may run before a fork
}
"""Environment of a process that imports Arrow."""
STOP_MARGIN_S: Final = 10.0


class Worker:
    """One KCL daemon with its children. Use as a context manager, from the main thread."""

    def __init__(
        self,
        settings: Settings,
        account: str,
        *,
        directory: Path,
        environment: Mapping[str, str],
        log: IO[bytes],
        say: Callable[[str], None],
        release: Callable[[str], object],
    ) -> None:
        """All files of the worker are in ``directory``, which exists and is the caller's to
        remove. ``environment`` is the daemon's whole environment, credentials included; its own
        log lines go to ``log``, and what an operator must know to ``say``. ``release`` gives
        back what a dead daemon of this worker id held (:func:`consumers.kcl.leases.release`)."""
        self.status = WorkerStatus()
        self._settings = settings
        self._environment = {**environment, **to_environment(child_config(settings, account))}
        self._log = log
        self._say = say
        self._release = release
        self._directory = directory.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._fork_server: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self.pid = self.fork_server_pid = 0
        self.worker_id = ""

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
        fork_server = self._start_fork_server()
        file = self._directory / "kcl.properties"
        values = daemon.properties(self._settings, self.worker_id, fork_server)
        file.write_text(daemon.properties_text(values))
        self._process = spawn(
            daemon.command(file, self._settings),
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.PIPE,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stderr,), daemon=True
        )
        self._reader.start()

    def _start_fork_server(self) -> Path | None:
        """Start what the daemon's children are forked from, and say where it listens."""
        if sys.platform != "linux":  # nothing else ends a child whose fork server is gone
            return None
        self._fork_server = spawn(
            [sys.executable, "-m", "consumers.shard.fork_server", str(self._directory)],
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
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

    def run(self, stopping: threading.Event, clock: Callable[[], float]) -> None:
        """Keep the daemon alive until ``stopping`` is set."""
        short_lives = 0
        started = clock()
        while not stopping.wait(0.2):
            code = self.exit_code()
            if code is None:
                continue
            short_lives = 0 if clock() - started > LONG_LIFE_S else short_lives + 1
            delay = RESTART_DELAYS_S[min(short_lives, len(RESTART_DELAYS_S) - 1)]
            self._say(f"the KCL daemon left with exit code {code}; starting it again")
            if stopping.wait(delay):
                return
            self._reap()
            self.start()
            self.status.restarts += 1
            started = clock()

    def _reap(self) -> None:
        """Nothing of the old daemon may still write when the new one starts."""
        if self._process is not None:
            stop(self._process, 0)
        self._stop_fork_server()
        if self._reader is not None:
            self._reader.join(5)
        self._give_back()

    def _give_back(self) -> None:
        """Others need not wait for what the dead daemon held; without this the KCL would still
        assign leases to it for a minute."""
        try:
            self._release(self.worker_id)
        except (BotoCoreError, ClientError) as error:
            self._say(f"the dead daemon's leases stay until they expire: {error}")

    def _read(self, source: IO[bytes]) -> None:
        with source:
            for line in source:
                parsed = stats.parse(line)
                if isinstance(parsed, stats.ShardReport):
                    self.status.report(parsed)
                elif isinstance(parsed, stats.LogLine):
                    self.status.log(parsed)
                    self._say(f"{parsed.shard or 'child'}: {parsed.message}")
                else:
                    self._log.write(line)
                    self._log.flush()


class StatusServer:
    """``/status`` (JSON), ``/metrics`` (Prometheus) and ``/healthz`` on loopback."""

    def __init__(self, status: WorkerStatus, port: int) -> None:
        """:raises OSError: when the port is busy."""
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(status))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> StatusServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler(status: WorkerStatus) -> type[BaseHTTPRequestHandler]:
    def page(path: str) -> tuple[str, str] | None:
        if path == "/status":
            return "application/json", json.dumps(status.snapshot())
        if path == "/metrics":
            return "text/plain; version=0.0.4", prometheus(status.snapshot())
        return ("text/plain", "ok\n") if path == "/healthz" else None

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = page(self.path)
            self.send_response(200 if found else 404)
            kind, text = found or ("text/plain", "try /status, /metrics or /healthz\n")
            body = text.encode()
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """No access log: a scrape a second would drown what matters."""

    return Handler


def daemon_environment(
    settings: Settings, credentials: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The daemon's environment: this process's own, with the region and endpoint resolved.

    When ``credentials`` are given, no other AWS setting of this process reaches the daemon.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if credentials is None or not name.startswith("AWS_")
    }
    kept |= {"AWS_REGION": settings.region, **ARROW}
    kept |= {"PYTHONDONTWRITEBYTECODE": "1"} if sys.dont_write_bytecode else {}
    if settings.endpoint_url:
        kept["AWS_ENDPOINT_URL"] = settings.endpoint_url
    return {**kept, **(credentials or {})}
