"""A worker's status, health and metrics over HTTP."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

import orjson

from consumers.worker.prometheus import CONTENT_TYPE, OPENMETRICS, exposition
from consumers.worker.status import WorkerStatus

LOOPBACK: Final = "127.0.0.1"
_OPENMETRICS: Final = "application/openmetrics-text"
_PAGES: Final = b"try /status, /metrics, /readyz or /livez\n"


class _Answer(NamedTuple):
    code: int
    kind: str
    body: bytes


class StatusServer:
    """Serves a worker's pages:

    * ``/status``: totals and shards (JSON). The beginnings of rejected payloads are in it only for
      who sends ``Authorization: Bearer`` with the token;
    * ``/metrics``: Prometheus; in the OpenMetrics format, with traces as exemplars, for who
      accepts it;
    * ``/readyz``: 200 when the worker holds what it should and every shard has reported lately;
    * ``/livez``: 503 when the worker's process should be restarted;
    * ``/healthz``: the same as one word, ``ok`` or ``down``.

    Beyond loopback, why a worker is not ready or not alive is said to who sends the token only.

    A request whose ``Host`` is a name of another machine is refused: it comes from a page of a
    browser whose name was made to point here (DNS rebinding).
    """

    def __init__(
        self, status: WorkerStatus, port: int, *, host: str = LOOPBACK, token: str | None = None
    ) -> None:
        """:raises OSError: when the port is busy, or the address is not one of this machine."""
        self._server = ThreadingHTTPServer((host, port), _handler(status, host, token))
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


def is_own_name(header: str, host: str) -> bool:
    """Whether a ``Host`` header names this machine: by an address, or by a name that it has."""
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    name = name.strip("[]").lower()
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return name in {"localhost", host.lower(), socket.gethostname().lower()}


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine's alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _page(path: str, status: WorkerStatus, *, trusted: bool, local: bool, accept: str) -> _Answer:
    if path == "/status":
        snapshot = status.snapshot()
        if not trusted:
            snapshot["rejects"] = [_without_preview(one) for one in snapshot["rejects"]]
        return _Answer(200, "application/json", orjson.dumps(snapshot))
    if path == "/metrics":
        traced = status.traced() if _OPENMETRICS in accept else None
        return _Answer(
            200,
            CONTENT_TYPE if traced is None else OPENMETRICS,
            exposition(
                status.snapshot(), status.latency(), status.puts(), status.flushes(), traced
            ),
        )
    if path == "/readyz":
        return _health(status.not_ready(), why=trusted or local)
    if path in ("/livez", "/healthz"):
        return _health(status.not_alive(), why=path == "/livez" and (trusted or local))
    return _Answer(404, "text/plain", _PAGES)


def _health(problem: str, *, why: bool) -> _Answer:
    text = (problem if why else "down") if problem else "ok"
    return _Answer(503 if problem else 200, "text/plain", f"{text}\n".encode())


def _without_preview(reject: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reject.items() if name != "preview"}


def _handler(status: WorkerStatus, host: str, token: str | None) -> type[BaseHTTPRequestHandler]:
    wanted = f"Bearer {token}".encode() if token else None
    local = is_loopback(host)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if is_own_name(self.headers.get("Host", ""), host):
                # http.server reads the bytes of a header as Latin-1.
                given = self.headers.get("Authorization", "").encode("latin-1", "replace")
                trusted = wanted is not None and hmac.compare_digest(given, wanted)
                path = self.path.partition("?")[0]
                accept = self.headers.get("Accept", "")
                self._send(_page(path, status, trusted=trusted, local=local, accept=accept))
            else:
                self._send(_Answer(421, "text/plain", b"this is not the host you asked for\n"))

        def _send(self, answer: _Answer) -> None:
            self.send_response(answer.code)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            """No access log: a scrape a second would drown what matters."""

    return Handler
