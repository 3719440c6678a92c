"""A stand-in for DynamoDB and S3 in a process of its own, so that what a client costs is the
client's. It takes every write, holds nothing, and answers with as few bytes as the SDK accepts.

Used as a context manager; ``python -m benchmarks.workloads.stub`` is the server itself,
which prints its port and ends with its standard input. It can take as long to answer as AWS does.
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple

_P99: Final = 2.326  # standard deviations

_EMPTY_LIST = (
    b"""<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"""
)


class Latency(NamedTuple):
    """How long (ms) DynamoDB and S3 take to answer: log-normal, or always the median if ``p99`` is
    the same."""

    dynamodb_p50: float = 0.0
    dynamodb_p99: float = 0.0
    s3_p50: float = 0.0
    s3_p99: float = 0.0


class Stub:
    """The server, from the outside."""

    def __init__(self, latency: Latency = Latency()) -> None:  # noqa: B008  # immutable
        self._latency = latency

    def __enter__(self) -> str:
        """:returns: its endpoint."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.workloads.stub", *map(str, self._latency)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        return f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    latency = Latency()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        action = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        _pause(self.latency.dynamodb_p50, self.latency.dynamodb_p99)
        if action == "BatchExecuteStatement":
            self._answer(b'{"Responses":[%s]}' % b",".join([b"{}"] * body.count(b'"Statement"')))
        elif action == "BatchGetItem":
            self._answer(b'{"Responses":{},"UnprocessedKeys":{}}')
        else:
            self._answer(b"{}")

    def do_PUT(self) -> None:
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            left -= len(self.rfile.read(min(left, 1 << 16)))
        _pause(self.latency.s3_p50, self.latency.s3_p99)
        self._answer(b"", ETag='"x"')

    def do_GET(self) -> None:
        self._answer(_EMPTY_LIST, **{"Content-Type": "application/xml"})

    def _answer(self, body: bytes, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": "application/x-amz-json-1.0", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _pause(p50: float, p99: float) -> None:
    if p50:
        spread = math.log(p99 / p50) / _P99
        time.sleep(random.lognormvariate(math.log(p50), spread) / 1000)


def main() -> None:
    _Handler.latency = Latency(*map(float, sys.argv[1:]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
