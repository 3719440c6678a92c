"""A real browser, and the full local stack for it to look at."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from infra.runfile import RunningStack
from tests.harness.command import start
from tests.harness.processes import await_value

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the package `chromium`")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@dataclass
class Up:
    """``penstock up`` in a folder, with its dashboard's address."""

    folder: Path
    url: str
    stack: RunningStack

    def client(self, service: str) -> Any:
        """A client of the embedded AWS, as its root."""
        import boto3

        make: Any = boto3.client
        return make(
            service, endpoint_url=self.stack.settings["endpoint_url"], region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip


@pytest.fixture(scope="package")
def up(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    process = start(folder, "up", "--port", "0", "--mqtt-port", "0", "--status-port", "0",
                    "--dashboard-port", "0")  # fmt: skip
    try:
        url = _line(process, r"dashboard (http://\S+)")
        stack = RunningStack(**_json(folder / ".penstock" / "stack.json"))
        yield Up(folder, url, stack)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _line(process: subprocess.Popen[str], pattern: str) -> str:
    """The first group of the first line of stderr that matches."""
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.search(pattern, line):
            return match[1]
    raise AssertionError("the command ended before it said what was waited for")


def _json(path: Path) -> Any:
    import json

    return await_value(
        lambda: json.loads(path.read_text()) if path.exists() else None, 10, "a file"
    )
