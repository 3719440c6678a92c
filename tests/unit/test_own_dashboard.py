"""The example of a dashboard of one's own runs against the API, with a token and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dashboard.feed import Feed
from dashboard.http.access import Access
from dashboard.http.api import create_app
from dashboard.http.server import HOST, BackgroundServer, listen
from ingest.tiers import LOCAL_TIERS
from tests.harness.dashboard import NAMES, NOW, a_fleet

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_dashboard.py"
MOST_LINES = 30


def _run(url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), url, "2"], capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "COLUMNS": "120", **variables}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("token", ["", "a-secret-of-16-characters"])
def test_it_shows_the_devices_with_their_values(token: str) -> None:
    access = Access(token=token) if token else None
    app = create_app(Feed(a_fleet(), NAMES, now_ms=lambda: NOW), LOCAL_TIERS, access)
    with BackgroundServer(app, listen(HOST, 0)) as server:
        done = _run(server.url, **({"TOKEN": token} if token else {}))
        refused = _run(server.url, TOKEN="") if token else None
    assert done.returncode == 0, done.stderr
    assert "41 devices" in done.stdout
    assert "dev-00" in done.stdout
    assert "temperature" in done.stdout
    assert refused is None or refused.stderr.startswith("401")


def test_it_is_as_short_as_the_documentation_says_and_is_shown_there() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    page = (EXAMPLE.parents[1] / "docs" / "dashboard.md").read_text()
    assert f"```python\n{text}```" in page
