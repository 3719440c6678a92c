"""Who sees what, case by case: no handler can pass by the view, and what each role may do."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from dashboard import alerts, http
from dashboard.alerts import Wanted, history_page, open_page
from dashboard.errors import ForbiddenError
from dashboard.http.access import CLAIMS, OPEN_PATH, Access, Guard, SharedToken
from dashboard.http.api import create_app, routes_of
from dashboard.http.live import Live
from dashboard.http.routes import Endpoint, acts
from dashboard.principal import ROLES, Principal
from dashboard.tenants.alarms import OwnAlarms
from dashboard.tenants.view import Views
from ingest.tables.alarms import Entry
from ingest.tiers import LOCAL_TIERS
from tests.harness.dashboard import NOW, client_of
from tests.harness.tables import Tables
from tests.harness.tenant_attacks import ATTEMPTS
from tests.harness.tenants import PEOPLE, UNITS, Thing, World, feed_of, serving

RAISED = Entry(NOW - 120_000, "raised")


def thing(name: str, group: str, alert: str = "open", windows: int = 3) -> Thing:
    return Thing(name, group, NOW, 20.0, windows, alert, NOW - 100, 3)


WORLD = World(
    (thing("red-1", "red"), thing("red-2", "red", ""), thing("blue-1", "blue"), thing("no-1", "")),
    ("red", "blue"),
)


def as_(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# -- nothing passes by the view -----------------------------------------------------------------


def the_routes() -> list[Any]:
    guard = create_app(feed_of(Tables()), LOCAL_TIERS)
    assert isinstance(guard, Guard)
    return list(guard._app.routes)  # type: ignore[attr-defined]


def test_every_route_but_the_open_one_and_the_page_answers_through_a_view() -> None:
    beside = [one for one in the_routes() if not isinstance(one, Mount)]
    (page,) = [one for one in the_routes() if isinstance(one, Mount)]
    assert not page.routes, "the page is files"
    by_view = [
        one.path for one in beside
        if isinstance(one, Route) and isinstance(getattr(one.endpoint, "__self__", None), Endpoint)
    ]  # fmt: skip
    assert {one.path for one in beside} - set(by_view) == {OPEN_PATH}


def test_every_route_is_attacked() -> None:
    served = {one.path for one in routes_of(Views(feed_of(Tables())), LOCAL_TIERS, {})}
    assert served - {"/api/v1/live"} == set(ATTEMPTS), "tests/property/test_tenants.py attacks it"


def test_a_route_that_changes_something_needs_an_operator() -> None:
    for route in routes_of(Views(feed_of(Tables())), LOCAL_TIERS, {}):
        endpoint = route.endpoint.__self__  # type: ignore[attr-defined]
        changes = route.methods != {"GET", "HEAD"}
        assert (endpoint.role != "viewer") == changes, route.path


def test_a_route_is_answered_to_its_role_and_those_above() -> None:
    async def answer(*_: Any) -> PlainTextResponse:
        return PlainTextResponse("done")

    views = Views(feed_of(Tables()))
    wanted = {"viewer": [403, 403, 200], "operator": [403, 200, 200], "admin": [200, 200, 200]}
    for role in ROLES:
        routes = [acts(views, f"/{needs}", answer, needs) for needs in reversed(ROLES)]
        app = Starlette(routes=routes, exception_handlers={ForbiddenError: _forbidden})
        access = Access(token="t", scope=Principal(role=role))
        client = TestClient(Guard(app, access), headers={"Authorization": "Bearer t"})
        answers = [client.post(f"/{needs}").status_code for needs in reversed(ROLES)]
        assert answers == wanted[role]


async def _forbidden(_: Any, error: Exception) -> PlainTextResponse:
    return PlainTextResponse(str(error), 403)


def test_no_handler_reaches_the_feed_its_clients_or_its_tables() -> None:
    for file in Path(str(http.__path__[0])).glob("*.py"):
        named = {
            node.attr for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Attribute)
        }  # fmt: skip
        allowed = {"client"} if file.name == "access.py" else set()  # the address of a request
        assert not named & {"_feed", "client", "writer", "tables", "pool"} - allowed, file.name


def test_a_request_that_no_guard_let_in_is_not_answered() -> None:
    guard = create_app(feed_of(Tables()), LOCAL_TIERS)
    assert isinstance(guard, Guard)
    client = TestClient(guard._app, raise_server_exceptions=False)
    assert client.get("/api/v1/summary").status_code == 502


# -- what is seen -------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", ["", "/windows", "/missing", "/series?metric=temperature"])
def test_a_foreign_device_is_answered_as_one_that_never_was(rest: str) -> None:
    with serving(WORLD) as (client, _):
        assert client.get(f"/api/v1/devices/red-1{rest}", headers=as_("red-viewer")).is_success
        for name in ("blue-1", "no-1", "ghost"):
            answer = client.get(f"/api/v1/devices/{name}{rest}", headers=as_("red-viewer"))
            assert answer.status_code == 404
            assert answer.json() == {"error": f"there is no device {name}"}


def test_counts_and_figures_are_of_the_own_devices() -> None:
    with serving(WORLD) as (client, _):
        summary = client.get("/api/v1/summary", headers=as_("red-viewer")).json()
        assert summary["devices"]["total"] == 2
        assert (summary["groups"], summary["types"]) == (["red"], ["red-type"])
        assert (summary["messages_per_s"], summary["workers"]) == (None, None)
        assert (summary["lag_ms"], summary["rejected"]) == ({}, {"late": 6})
        assert summary["units"] == {"temperature": "°C", "red_level": "m"}
        stream = client.get("/api/v1/stream", headers=as_("red-viewer")).json()
        assert (stream["shards"], stream["workers"]) == ([], [])
        assert [one["device"] for one in stream["rejects"]] == ["red-1", "red-2"]
        assert client.get("/metrics", headers=as_("red-admin")).status_code == 404
        everything = client.get("/api/v1/summary", headers=as_("everything")).json()
        assert (everything["devices"]["total"], everything["messages_per_s"]) == (4, 5.0)


def test_alerts_are_of_the_own_devices_and_groups() -> None:
    with serving(WORLD) as (client, _):
        found = client.get("/api/v1/alerts", headers=as_("red-viewer")).json()
        assert [one["device"] for one in found["alerts"]] == ["#group/red", "red-1"]
        for subject in ("blue-1", "#group/blue", "ghost"):
            asked = {"device": subject}
            for path in ("device", "history"):
                answer = client.get(
                    f"/api/v1/alerts/{path}", params=asked, headers=as_("red-viewer")
                )
                assert answer.json() in ([], {"transitions": [], "cursor": None})


def test_what_aws_says_of_the_account_is_told_to_those_only_who_see_everything() -> None:
    tables = Tables()
    WORLD.fill(tables)
    tables.fail = RuntimeError("arn:aws:dynamodb:eu-west-1:123456789012:table/windows")
    access = Access(tokens=tuple(SharedToken(*one) for one in PEOPLE.items()))
    with client_of(tables, access) as client:
        answers = [client.get("/api/v1/health", headers=as_(one)).json()["error"]
                   for one in ("red-admin", "everything")]  # fmt: skip
    assert answers[0] == "DynamoDB does not answer"
    assert "123456789012" in answers[1]


def test_nobody_marks_a_foreign_device_as_watched() -> None:
    tables = Tables()
    WORLD.fill(tables)
    feed = feed_of(tables)

    async def look() -> None:
        await feed._refresh(feed._read)
        view = Views(feed).of(PEOPLE["red-viewer"])
        view.watch(["red-1", "blue-1", "ghost"])
        await feed.stop()

    asyncio.run(look())
    assert feed._watched.devices(NOW / 1000) == ["red-1"]


def test_what_changes_for_others_wakes_no_stream() -> None:
    tables = Tables()
    WORLD.fill(tables)
    feed = feed_of(tables)

    async def wait() -> list[bool]:
        await feed._refresh(feed._read)
        view, woken = Views(feed).of(PEOPLE["red-viewer"]), []
        for subject in ("blue-1", "#group/blue", "red-1"):
            known = view.snapshot
            feed._tell({**feed.snapshot.alerts, **changed_since(tables, "alerts", 0, {subject})})
            woken.append(await view.after(known, 0.01) is not None)
        await feed.stop()
        return woken

    def changed_since(*arguments: Any) -> Any:
        *asked, subjects = arguments
        return {one: rows for one, rows in alerts.changed_since(*asked).items() if one in subjects}

    assert asyncio.run(wait()) == [False, False, True]


def test_a_device_that_is_moved_is_gone_for_one_and_there_for_the_other() -> None:
    with serving(WORLD) as (client, tables):
        assert client.get("/api/v1/devices/red-1", headers=as_("red-viewer")).is_success
        WORLD.moved("red-1", "blue").fill(tables)
        for token, status in (("red-viewer", 404), ("blue-viewer", 200)):
            answer = client.get("/api/v1/devices/red-1", headers=as_(token))
            assert answer.status_code == status
        body = {"device": "red-1", "rule": "hot"}
        path = "/api/v1/alerts/acknowledge"
        assert client.post(path, json=body, headers=as_("red-operator")).status_code == 404


# -- what is done -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["acknowledge", "mute", "unmute"])
def test_a_viewer_is_refused_with_a_sentence_and_an_operator_is_not(what: str) -> None:
    body = {"device": "red-1", "rule": "hot", "by": "root"}
    with serving(WORLD) as (client, tables):
        before = dict(tables.alerts.items["red-1"])
        refused = client.post(f"/api/v1/alerts/{what}", json=body, headers=as_("red-viewer"))
        assert refused.status_code == 403
        assert refused.json() == {"error": "your role is viewer, and this needs the role operator"}
        assert tables.alerts.items["red-1"] == before
        done = client.post(f"/api/v1/alerts/{what}", json=body, headers=as_("red-operator"))
        assert done.status_code == 200
        for role, may in (("viewer", False), ("operator", True), ("admin", True)):
            page = client.get("/api/v1/alerts", headers=as_(f"red-{role}")).json()
            assert (page["may_change"], page["user"]) == (may, "red@example")


def test_the_name_of_the_principal_is_recorded_and_not_the_one_in_the_request() -> None:
    body = {"device": "red-1", "rule": "hot", "by": "root"}
    with serving(WORLD) as (client, _):
        done = client.post("/api/v1/alerts/acknowledge", json=body, headers=as_("red-operator"))
        assert done.json()[0]["acknowledged"] == "red@example"


@pytest.mark.parametrize("subject", ["blue-1", "#group/blue", "ghost", "no-1"])
def test_a_foreign_alert_is_refused_as_one_that_never_was(subject: str) -> None:
    with serving(WORLD) as (client, tables):
        before = {name: dict(item) for name, item in tables.alerts.items.items()}
        for what in ("acknowledge", "mute", "unmute"):
            answer = client.post(
                f"/api/v1/alerts/{what}", json={"device": subject, "rule": "hot"},
                headers=as_("red-operator"),
            )  # fmt: skip
            assert answer.status_code == 404
            assert answer.json() == {"error": f"{subject} has no alert of rule hot"}
        assert tables.alerts.items == before


# -- who it is ----------------------------------------------------------------------------------


def test_a_session_is_that_of_the_token_that_began_it() -> None:
    with serving(WORLD) as (client, _):
        entered = client.get("/?token=red-viewer", follow_redirects=False)
        assert entered.status_code == 303
        assert client.get("/api/v1/summary").json()["devices"]["total"] == 2
        assert client.get("/api/v1/devices/blue-1").status_code == 404


def test_claims_that_the_caller_of_the_application_verified_say_who_asks() -> None:
    tables = Tables()
    WORLD.fill(tables)
    claims: dict[str, Any] = {"custom:groups": "blue", "cognito:groups": "[operator]"}
    access = Access(by_claims=True, clock=lambda: NOW / 1000)
    app = create_app(feed_of(tables), LOCAL_TIERS, access)

    async def with_claims(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, CLAIMS: claims}, receive, send)

    unclaimed = TestClient(app, "http://127.0.0.1").get("/api/v1/summary")
    assert unclaimed.status_code == 401, "not even on loopback"
    with TestClient(with_claims, "http://127.0.0.1") as client:
        assert client.get("/api/v1/summary").json()["groups"] == ["blue"]
        assert client.get("/api/v1/devices/red-1").status_code == 404
        claims["exp"] = str(NOW / 1000 - 1)
        assert client.get("/api/v1/summary").status_code == 401


def test_a_stream_ends_when_the_token_expires() -> None:
    tables, now = Tables(), [NOW]
    WORLD.fill(tables)
    feed = feed_of(tables)
    feed.now_ms = lambda: now[0]

    async def follow() -> list[bytes]:
        await feed._refresh(feed._read)
        person = Principal("kim", frozenset({"red"}), "viewer", until_s=NOW / 1000 + 60)
        told = []
        async for one in Live(UNITS)._events(Views(feed).of(person), ["red-1"]):
            told.append(one)
            now[0] += 25_000
            await feed._refresh(feed._read)
        await feed.stop()
        return told

    assert 2 <= len(asyncio.run(asyncio.wait_for(follow(), 30))) <= 4


# -- what it costs ------------------------------------------------------------------------------


def own(tables: Tables, mine: int) -> OwnAlarms:
    person = Principal("kim", frozenset({"red"}))
    devices: Any = {f"red-{n}": {} for n in range(mine)}
    return OwnAlarms(tables, "alerts", person, devices)


@pytest.mark.parametrize(
    ("mine", "foreign", "reads", "keys"),
    [
        (20, 0, 20, 0),  # the index holds little: it is read whole
        (20, 90, 110, 21),  # … or as far as it is cheaper than the own items
        (20, 5_000, 200, 21),
        (300, 5_000, 2_200, 301),
        (300, 500, 600, 0),  # one page is enough
    ],
)
def test_a_page_costs_at_most_twice_the_cheaper_of_index_and_keys(
    mine: int, foreign: int, reads: int, keys: int
) -> None:
    tables = Tables()
    for number in range(foreign):
        tables.alerts.add(f"blue-{number}", RAISED, changed=NOW + number)
    for number in range(mine):
        tables.alerts.add(f"red-{number}", RAISED, changed=NOW - number)
    half = own(tables, mine).half
    found, cursor = open_page(tables, "alerts", 10, None, half)
    assert [one["device"] for one in found] == [f"red-{number}" for number in range(10)]
    assert tables.alerts.read <= reads
    assert tables.alerts.keys <= keys
    again, _ = open_page(tables, "alerts", 10, cursor, half)
    assert [one["device"] for one in again] == [f"red-{number}" for number in range(10, 20)]


@pytest.mark.parametrize("limit", [3, 5])
@pytest.mark.parametrize("foreign", [0, 5, 1_000])
def test_pages_of_the_own_alerts_hold_each_once_whatever_else_there_is(
    foreign: int, limit: int
) -> None:
    tables = Tables()
    for number in range(40):
        entries = (RAISED, Entry(NOW, "cleared"))[: 1 + number % 2]
        tables.alerts.add(f"red-{number}", *entries, changed=NOW - number // 20)
    for number in range(foreign):
        tables.alerts.add(f"blue-{number}", RAISED, changed=NOW - number % 9)
    half, found = own(tables, 40).half, list[Any]()
    opened = 0
    at: str | None = None
    while True:
        page, at = open_page(tables, "alerts", limit, at, half)
        assert page, "no page is empty"
        opened += len(page)
        if at is None:
            break
    assert opened == 20
    cursor: str | None = None
    while True:
        part, cursor = history_page(tables, "alerts", Wanted(), limit, cursor, half)
        assert part, "no page is empty"
        found += [(one["device"], one["kind"]) for one in part]
        if cursor is None:
            break
    assert len(found) == len(set(found)) == 60
