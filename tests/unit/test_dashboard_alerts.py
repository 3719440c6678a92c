"""Alerts of the dashboard over a table in memory: what is answered and read, who may change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from dashboard import alerts
from dashboard.feed import Feed
from dashboard.feed import Tables as Names
from dashboard.http.access import Access
from dashboard.http.openapi import document
from ingest.tables.alarms import Entry, RuleState, read_alarms
from tests.harness.dashboard import NAMES, NOW, a_fleet, client_of
from tests.harness.tables import Tables

RAISED, CLEARED = Entry(NOW - 120_000, "raised"), Entry(NOW - 60_000, "cleared")


@pytest.fixture
def tables() -> Tables:
    made = a_fleet()
    made.alerts.add("dev-00", RAISED, changed=NOW - 100)
    made.alerts.add("dev-01", RAISED, CLEARED, changed=NOW - 50, severity="warning", rule="cold")
    return made


@pytest.fixture
def client(tables: Tables) -> Iterator[TestClient]:
    with client_of(tables) as running:
        yield running


def act(client: TestClient, what: str, **body: Any) -> Any:
    return client.post(
        f"/api/v1/alerts/{what}", json={"device": "dev-00", "rule": "hot", "by": "kim", **body}
    )


def state_of(tables: Tables, device: str = "dev-00", rule: str = "hot") -> RuleState:
    return read_alarms(tables.alerts.items[device]).states[rule]


def test_open_alerts_are_listed_and_closed_ones_are_not(client: TestClient) -> None:
    answer = client.get("/api/v1/alerts").json()
    assert answer["alerts"] == [
        {"device": "dev-00", "rule": "hot", "severity": "critical", "text": "dev-00 is hot",
         "open": True, "since": NOW - 120_000, "acknowledged": "", "muted_until": None,
         "changed": NOW - 100}
    ]  # fmt: skip
    assert (answer["user"], answer["may_change"], answer["cursor"]) == ("", True, None)


def test_an_open_list_that_did_not_change_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/api/v1/alerts").headers["etag"]
    assert client.get("/api/v1/alerts", headers={"If-None-Match": tag}).status_code == 304


def test_a_page_of_ten_thousand_reads_no_more_than_it_shows(tables: Tables) -> None:
    for n in range(10_000):
        tables.alerts.add(f"x-{n:05d}", RAISED, changed=n)
    found, cursor = alerts.open_page(tables, "alerts", 50, None)
    assert len(found) == 50
    assert tables.alerts.read == 50
    changed = alerts.changed_since(tables, "alerts", 0)
    assert len(changed) <= 2 * alerts.MAX_PAGE
    assert tables.alerts.read <= 50 + 2 * alerts.MAX_PAGE
    again, _ = alerts.open_page(tables, "alerts", 50, cursor)
    assert not {one["device"] for one in found} & {one["device"] for one in again}


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_the_pages_of_history_hold_each_transition_once(tables: Tables, limit: int) -> None:
    for n in range(20):
        entries = (RAISED, CLEARED) if n % 3 else (RAISED,)
        tables.alerts.add(f"x-{n:02d}", *entries, changed=NOW - n // 4)  # many at one time
    found: list[Any] = []
    cursor = None
    while True:
        part, cursor = alerts.history_page(tables, "alerts", alerts.Wanted(), limit, cursor)
        found += part
        if cursor is None:
            break
    keys = [(one["device"], one["rule"], one["kind"]) for one in found]
    assert len(keys) == len(set(keys))
    assert len(keys) == sum(
        len(state.log)
        for item in tables.alerts.items.values()
        for state in read_alarms(item).states.values()
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"device": "dev-01"}, [("dev-01", "cleared"), ("dev-01", "raised")]),
        ({"rule": "hot"}, [("dev-00", "raised")]),
        ({"severity": "warning"}, [("dev-01", "cleared"), ("dev-01", "raised")]),
        ({"from": NOW - 90_000}, [("dev-01", "cleared")]),
        ({"to": NOW - 90_000, "device": "dev-00"}, [("dev-00", "raised")]),
        ({"device": "nobody"}, []),
    ],
)
def test_history_is_filtered(client: TestClient, query: Any, expected: Any) -> None:
    found = client.get("/api/v1/alerts/history", params=query).json()["transitions"]
    assert [(one["device"], one["kind"]) for one in found] == expected


def test_an_acknowledgement_is_recorded_and_waits_for_delivery(
    client: TestClient, tables: Tables
) -> None:
    answer = act(client, "acknowledge")
    assert answer.status_code == 200
    assert answer.json()[0]["acknowledged"] == "kim"
    assert state_of(tables).acknowledged == "kim"
    (waiting,) = read_alarms(tables.alerts.items["dev-00"]).outbox
    assert (waiting.transition.kind, waiting.transition.by) == ("acknowledged", "kim")
    history = client.get("/api/v1/alerts/history", params={"device": "dev-00"}).json()
    newest, raised = history["transitions"]
    assert (newest["kind"], newest["by"], newest["until"]) == ("acknowledged", "kim", None)
    assert NOW <= newest["window"] < NOW + 60_000  # when it was done
    assert (raised["kind"], raised["by"]) == ("raised", "")
    assert tables.alerts.items["dev-00"]["waits"] == {"S": "1"}
    assert int(tables.alerts.items["dev-00"]["changed"]["N"]) > NOW - 100  # followers see it
    again = act(client, "acknowledge", by="lee")
    assert (again.status_code, again.json()) == (
        409, {"error": "kim has acknowledged it already"},
    )  # fmt: skip


def test_a_mute_ends_when_it_is_said_and_can_be_ended(client: TestClient, tables: Tables) -> None:
    assert act(client, "mute", until=NOW + 5).status_code == 200
    assert state_of(tables).muted_until == NOW + 5
    history = client.get("/api/v1/alerts/history", params={"device": "dev-00"}).json()
    muted = history["transitions"][0]
    assert (muted["kind"], muted["by"], muted["until"]) == ("muted", "kim", NOW + 5)
    assert act(client, "unmute").json()[0]["muted_until"] is None
    for wrong in (NOW, NOW - 1, NOW + 400 * 86_400_000):
        assert act(client, "mute", until=wrong).status_code == 400


def test_what_a_worker_writes_meanwhile_is_kept(client: TestClient, tables: Tables) -> None:
    tables.alerts.before_put = lambda: tables.alerts.add(
        "dev-00", RAISED, CLEARED, Entry(NOW, "raised"), changed=NOW, ver=2
    )
    assert act(client, "acknowledge").status_code == 200
    state = state_of(tables)
    assert (len(state.log), state.acknowledged) == (3, "kim")
    assert tables.alerts.items["dev-00"]["ver"] == {"N": "3"}


def test_an_alarm_that_a_worker_cleared_meanwhile_cannot_be_acknowledged(
    client: TestClient, tables: Tables
) -> None:
    tables.alerts.before_put = lambda: tables.alerts.add(
        "dev-00", RAISED, CLEARED, changed=NOW, ver=2
    )
    assert act(client, "acknowledge").status_code == 409
    assert state_of(tables).acknowledged == ""


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Host": "elsewhere.example"}, 401),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({}, 200),
    ],
)
def test_a_page_of_another_site_changes_nothing(
    client: TestClient, tables: Tables, headers: dict[str, str], status: int
) -> None:
    body = json.dumps({"device": "dev-00", "rule": "hot"})
    sent = {"Content-Type": "application/json", **headers}
    answer = client.post("/api/v1/alerts/acknowledge", content=body, headers=sent)
    assert answer.status_code == status
    assert (state_of(tables).acknowledged == "dashboard") == (status == 200)


def test_the_proxy_s_user_counts_and_not_who_the_request_says(tables: Tables) -> None:
    access = Access(user_header="X-Forwarded-Email")
    with client_of(tables, access) as client:
        client.headers["X-Forwarded-Email"] = "kim@example.com"
        assert client.get("/api/v1/alerts").json()["user"] == "kim@example.com"
        assert act(client, "acknowledge", by="mallory").status_code == 200
    assert state_of(tables).acknowledged == "kim@example.com"


def test_a_read_only_dashboard_says_so_and_changes_nothing(tables: Tables) -> None:
    with client_of(tables, read_only=True) as client:
        assert client.get("/api/v1/alerts").json()["may_change"] is False
        assert act(client, "acknowledge").status_code == 403
    assert state_of(tables).acknowledged == ""


def test_a_deployment_without_alerts_says_how_to_have_them(tables: Tables) -> None:
    with client_of(tables, names=Names("windows", "devices", "status")) as client:
        answer = client.get("/api/v1/alerts")
    assert answer.status_code == 404
    assert "alerts = true" in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"device": "dev-00"}', b'{"device": "#rules", "rule": "hot"}',
     b'{"device": "dev-00", "rule": "hot", "until": "x"}',
     b'{"device": "dev-00", "rule": "hot", "by": "a\\u0000"}'],
)  # fmt: skip
def test_a_wrong_act_is_refused_with_a_sentence(client: TestClient, body: bytes) -> None:
    sent = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/alerts/mute", content=body, headers=sent)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_an_alert_that_never_was_is_not_made_by_muting_it(
    client: TestClient, tables: Tables
) -> None:
    assert act(client, "mute", device="dev-09").status_code == 404
    assert act(client, "mute", rule="other").status_code == 404
    assert "dev-09" not in tables.alerts.items


@pytest.mark.parametrize("cursor", ["x", "W10=", "WyJzdGFydCJd", "é"])
def test_a_cursor_that_is_not_ours_is_refused(client: TestClient, cursor: str) -> None:
    answer = client.get("/api/v1/alerts/history", params={"cursor": cursor})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "path", ["/api/v1/alerts", "/api/v1/alerts/device?device=dev-00", "/api/v1/alerts/history"]
)
def test_answers_are_what_the_document_promises(client: TestClient, path: str) -> None:
    promised = document(["1m"])
    at = promised["paths"][path.partition("?")[0]]["get"]["responses"]["200"]
    schema = at["content"]["application/json"]["schema"]
    jsonschema.validate(client.get(path).json(), {**schema, "components": promised["components"]})


def test_only_devices_in_which_an_alert_changed_are_told(tables: Tables) -> None:
    old = alerts.changed_since(tables, "alerts", 0)
    tables.alerts.add("dev-01", RAISED, changed=NOW, rule="cold")
    new = alerts.changed_since(tables, "alerts", 0)
    assert [one["device"] for one in alerts.news(old, new)] == ["dev-01"]
    assert alerts.news(new, dict(new)) == []


def test_alerts_are_followed_while_somebody_looks_and_not_otherwise(tables: Tables) -> None:
    async def follow() -> None:
        feed = Feed(tables, NAMES, now_ms=lambda: NOW, fastest_s=0.01)
        await feed.start()
        try:
            reads = feed.reads
            while feed.reads < reads + 5:
                await feed.after(feed.snapshot.version, 5)
            assert feed.snapshot.alerts == {}
            assert tables.alerts.read == 0
            feed.viewers = 1
            async with asyncio.timeout(5):
                while set(feed.snapshot.alerts) != {"dev-00", "dev-01"}:
                    await feed.after(feed.snapshot.version, 5)
                tables.alerts.add("dev-02", RAISED, changed=NOW)
                while "dev-02" not in feed.snapshot.alerts:
                    await feed.after(feed.snapshot.version, 5)
        finally:
            await feed.stop()

    asyncio.run(follow())
