"""A worker's status over HTTP, on loopback."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from consumers.worker.prometheus import CONTENT_TYPE, exposition
from consumers.worker.status import WorkerStatus


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
    def page(path: str) -> tuple[str, bytes] | None:
        if path == "/status":
            return "application/json", orjson.dumps(status.snapshot())
        if path == "/metrics":
            return CONTENT_TYPE, exposition(status.snapshot(), status.latency())
        return ("text/plain", b"ok\n") if path == "/healthz" else None

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = page(self.path)
            self.send_response(200 if found else 404)
            kind, body = found or ("text/plain", b"try /status, /metrics or /healthz\n")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """No access log: a scrape a second would drown what matters."""

    return Handler
