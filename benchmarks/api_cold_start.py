"""The API's package: its size, and how long a fresh process takes to its first answer.

``python -m benchmarks.api_cold_start`` makes the package for this machine's processor, unpacks it,
and runs it alone, without this environment's packages, against a DynamoDB on loopback that answers
at once with empty tables. Starting Python itself is counted too; Lambda's own start is not.
"""

from __future__ import annotations

import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from infra.aws.api_package import build
from ingest.tiers import DEFAULT_TIERS

RUNS: Final = 9
_FIRST: Final = """
import sys
sys.path.insert(0, sys.argv[1])
from dashboard.function.serverless import handler
event = {
    "version": "2.0", "rawQueryString": "", "headers": {},
    "requestContext": {
        "http": {"method": "GET", "path": "/api/v1/summary", "sourceIp": "192.0.2.1"},
        "authorizer": {"jwt": {"claims": {"sub": "kim", "custom:groups": "*"}}},
    },
}
assert handler(event, None)["statusCode"] == 200
"""


class _Empty(BaseHTTPRequestHandler):
    """Answers every call as a table without items does."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"Items": [], "Count": 0, "ScannedCount": 0}'
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


def main() -> None:
    """Measure, and print both figures."""
    package = build("arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64")
    print(f"package {len(package.content) / 1e6:.1f} MB")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Empty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(io.BytesIO(package.content)).extractall(folder)
        taken = sorted(_run(folder, f"http://127.0.0.1:{server.server_port}") for _ in range(RUNS))
    server.shutdown()
    print(
        f"cold start {statistics.median(taken):.2f} s (of {RUNS}: {taken[0]:.2f}-{taken[-1]:.2f})"
    )


def _run(folder: str, endpoint: str) -> float:
    environment = {
        "PATH": os.environ["PATH"], "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_LAMBDA_FUNCTION_NAME": "plant-7-api", "PENSTOCK_STACK": "plant-7",
        "PENSTOCK_TIERS": json.dumps(
            [{"name": one.name, "flush_s": one.flush_s, "ttl_s": one.ttl_s}
             for one in DEFAULT_TIERS]
        ),
    }  # fmt: skip
    command = [sys.executable, "-I", "-S", "-B", "-c", _FIRST, folder]
    started = time.monotonic()
    subprocess.run(command, env=environment, cwd=Path(folder), check=True)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
