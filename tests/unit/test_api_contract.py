"""The read API keeps its OpenAPI document's promises, and never fails, whichever way it is served:
in memory, over HTTP, and as the Lambda function's handler gets requests from API Gateway."""

from __future__ import annotations

import socket

import httpx
import pytest
from mangum import Mangum

from dashboard.feed import Feed
from dashboard.function import serverless
from dashboard.http.api import create_app
from dashboard.http.server import BackgroundServer, listen
from ingest.tiers import LOCAL_TIERS
from tests.harness.api_contract import Answer, check_contract
from tests.harness.api_events import TIERS, event
from tests.harness.dashboard import NAMES, NOW, a_fleet, client_of
from tests.harness.tables import Tables


def _function(tables: Tables, **environment: str) -> Mangum:
    known = {"PENSTOCK_STACK": "plant-7", "PENSTOCK_TIERS": TIERS, **environment}
    return Mangum(serverless.application(known, tables), lifespan="off")


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    monkeypatch.setattr(serverless, "tables_of", lambda stack, alerts: NAMES)
    return a_fleet()


def test_in_memory() -> None:
    with client_of(a_fleet()) as client:

        def ask(path: str) -> Answer:
            answer = client.get(path)
            return Answer(answer.status_code, answer.content)

        assert set(check_contract(ask, "dev-00", requests=150)) >= {200, 400, 404}


def test_over_http() -> None:
    tables = a_fleet()
    feed = Feed(tables, NAMES, now_ms=lambda: NOW)
    with (
        BackgroundServer(create_app(feed, LOCAL_TIERS), listen("127.0.0.1", 0)) as server,
        httpx.Client(base_url=server.url) as client,
    ):

        def ask(path: str) -> Answer:
            answer = client.get(path)
            return Answer(answer.status_code, answer.content)

        assert set(check_contract(ask, "dev-00", requests=150)) >= {200, 400, 404}


def test_as_a_function(tables: Tables) -> None:
    function = _function(tables)

    def ask(path: str) -> Answer:
        answer = function(event(path), None)  # type: ignore[arg-type]
        return Answer(answer["statusCode"], answer["body"].encode())

    assert set(check_contract(ask, "dev-00", requests=150)) >= {200, 400, 404}


def test_a_function_answers_nobody_without_verified_claims_and_reads_nothing_for_them(
    tables: Tables,
) -> None:
    function = _function(tables)
    answer = function(event("/api/v1/summary", None), None)  # type: ignore[arg-type]
    assert answer["statusCode"] == 401
    forged = event("/api/v1/summary", None)
    forged["headers"]["penstock.claims"] = "admin"
    forged["headers"]["authorization"] = "Bearer admin"
    assert function(forged, None)["statusCode"] == 401  # type: ignore[arg-type]
    assert tables.calls == 0


def test_a_function_shows_a_viewer_the_devices_of_the_groups_in_the_token(tables: Tables) -> None:
    function = _function(tables, PENSTOCK_GROUPS_CLAIM="halls")
    claims = {"sub": "lee", "halls": "[g1]"}
    answer = function(event("/api/v1/devices?limit=200", claims), None)  # type: ignore[arg-type]
    assert '"group":"g1"' in answer["body"]
    assert '"group":"g0"' not in answer["body"]
    hidden = function(event("/api/v1/devices/dev-00", claims), None)  # type: ignore[arg-type]
    assert hidden["statusCode"] == 404


@pytest.mark.parametrize("path", ["/api/v1/live", "/", "/index.html"])
def test_a_function_has_no_live_stream_and_no_page(tables: Tables, path: str) -> None:
    assert _function(tables)(event(path), None)["statusCode"] == 404  # type: ignore[arg-type]


def test_a_function_reads_the_roster_again_when_that_is_due_and_not_for_each_request(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, now = _function(tables), [100.0]
    monkeypatch.setattr("dashboard.feed.time.monotonic", lambda: now[0])

    def scans_of_a_request() -> int:
        before = tables.calls
        function(event("/api/v1/summary"), None)  # type: ignore[arg-type]
        return tables.calls - before

    assert scans_of_a_request() > 0
    assert scans_of_a_request() == 0
    now[0] += serverless.FASTEST_S + 0.1
    assert scans_of_a_request() > 0


def test_the_tables_are_those_of_the_settings() -> None:
    from ingest.settings import Settings

    settings = Settings(stack="plant-7")
    assert serverless.tables_of("plant-7", alerts=True) == (
        type(NAMES)(settings.windows_table, settings.devices_table, settings.status_table,
                    settings.alerts_table)
    )  # fmt: skip
    assert serverless.tables_of("plant-7", alerts=False).alerts == ""


def test_the_newest_state_holds_the_watched_devices_and_is_not_sent_twice() -> None:
    path = "/api/v1/latest?watch=dev-01,never,gone"
    with client_of(a_fleet()) as client:
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert [one["device"] for one in first.json()["watched"]] == ["dev-01", "never"]
    assert first.json()["devices"]["total"] == 41
    assert (again.status_code, again.content) == (304, b"")


def test_an_answer_on_a_used_connection_does_not_wait_for_an_acknowledgement() -> None:
    """asyncio sets TCP_NODELAY on connections of a listener whose protocol is named."""
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
