"""Schemathesis finds no 5xx and no answer beside the document, whichever way the API is served.
``tests/integration/test_api.py`` has it for the function behind API Gateway."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import httpx
import pytest
from mangum import Mangum

from dashboard.feed import Feed
from dashboard.function import serverless
from dashboard.http.api import create_app
from dashboard.http.server import BackgroundServer, listen
from ingest.tiers import LOCAL_TIERS
from tests.harness.api_events import TIERS, event
from tests.harness.dashboard import NAMES, NOW, a_fleet, client_of
from tests.harness.explore_api import explore

EXAMPLES = 15
DEVICE = "dev-00"


def test_in_memory() -> None:
    with client_of(a_fleet()) as client:
        _both(explore(client.send, DEVICE, examples=EXAMPLES))


def test_over_http() -> None:
    feed = Feed(a_fleet(), NAMES, now_ms=lambda: NOW)
    app = create_app(feed, LOCAL_TIERS)
    with BackgroundServer(app, listen("127.0.0.1", 0)) as server, httpx.Client() as client:
        base = httpx.URL(server.url)

        def send(request: httpx.Request) -> httpx.Response:
            request.url = request.url.copy_with(port=base.port)
            request.headers["host"] = base.netloc.decode()
            return client.send(request)

        _both(explore(send, DEVICE, examples=EXAMPLES))


def test_as_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serverless, "tables_of", lambda stack, alerts: NAMES)
    known = {"PENSTOCK_STACK": "plant-7", "PENSTOCK_TIERS": TIERS, "PENSTOCK_ALERTS": "true"}
    function = Mangum(serverless.application(known, a_fleet()), lifespan="off")

    def send(request: httpx.Request) -> httpx.Response:
        path = f"{request.url.path}?{request.url.query.decode()}"
        made = function(event(path), None)  # type: ignore[arg-type]
        answer = httpx.Response(
            made["statusCode"], headers=made["headers"], text=made["body"], request=request
        )
        answer.elapsed = timedelta()
        return answer

    _both(explore(send, DEVICE, examples=EXAMPLES, reads_only=True))


def _both(counts: Counter[int]) -> None:
    """Much was answered, and much refused."""
    assert counts[200] > 4 * EXAMPLES, counts
    assert counts[400] > 4 * EXAMPLES, counts
