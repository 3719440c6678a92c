"""Serves the application: in this process until a signal, or in a thread beside other work."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from dashboard.errors import PortBusyError

HOST: Final = "127.0.0.1"
PORT: Final = 8400
START_S: Final = 20.0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ``port`` 0 takes a free one.

    :raises PortBusyError: when it is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on connections. Without, the body of an
    # answer waits for the acknowledgement of its head: 40 ms on a connection that is used again.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortBusyError(f"{host}:{port}: {error.strerror}") from None
    return listener


def server(app: ASGIApp) -> uvicorn.Server:
    """A server that is not started; it ends live streams soon when told to stop."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="on", server_header=False,
        proxy_headers=False,  # whom a request is from decides access: see dashboard.http.access
        timeout_graceful_shutdown=1, h11_max_incomplete_event_size=64 * 1024,
    )  # fmt: skip
    return uvicorn.Server(config)


class BackgroundServer:
    """The application in a thread of this process. Use as a context manager."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._server = server(app)
        self._listener = listener
        host, port = listener.getsockname()[:2]
        self.url = f"http://{host}:{port}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def __enter__(self) -> BackgroundServer:
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started and self._thread.is_alive():
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()
