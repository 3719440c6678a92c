"""A role's credentials for another process, always fresh, over loopback.

The AWS SDKs fetch credentials from the address in ``AWS_CONTAINER_CREDENTIALS_FULL_URI`` and
fetch them again before they expire (the mechanism of ECS and EKS). So a worker that runs for
weeks holds only its own role's short-lived keys, and never the keys they came from.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

_REFRESH_S: Final = 900.0


class _Keeper:
    """The newest credentials; assumes the role again well before they expire."""

    def __init__(self, assume: Callable[[], Mapping[str, Any]]) -> None:
        self._assume = assume
        self._lock = threading.Lock()
        self._held: Mapping[str, Any] | None = None

    def document(self) -> bytes:
        """The answer that the SDKs expect.

        While STS cannot be reached, the credentials that are held are served to their end;
        then what ``assume`` raises is raised.
        """
        with self._lock:
            held = self._held
            if held is None or _left_s(held) < _REFRESH_S:
                held = self._held = self._fresh(held)
        return json.dumps(
            {
                "AccessKeyId": held["AccessKeyId"],
                "SecretAccessKey": held["SecretAccessKey"],
                "Token": held["SessionToken"],
                "Expiration": held["Expiration"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        ).encode()

    def _fresh(self, held: Mapping[str, Any] | None) -> Mapping[str, Any]:
        try:
            return self._assume()
        except Exception:
            if held is None or _left_s(held) <= 0:
                raise
            return held


@contextmanager
def serve_credentials(assume: Callable[[], Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Serve a role's credentials while the context lasts; yields the variables for a process
    that shall use them. ``assume`` answers as STS ``AssumeRole`` does under ``Credentials``."""
    token = secrets.token_urlsafe(32)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(_Keeper(assume), token))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_address[1]}/",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _left_s(credentials: Mapping[str, Any]) -> float:
    left: float = (credentials["Expiration"] - datetime.now(UTC)).total_seconds()
    return left


def _handler(keeper: _Keeper, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), token.encode()):
                self.send_error(401)
                return
            try:
                body = keeper.document()
            except Exception as error:  # noqa: BLE001 - the SDK asks again after a 5xx
                self.send_error(503, f"cannot assume the role: {type(error).__name__}")
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing of this is for a log."""

    return Handler
