"""Commands to devices over the API: who sees and who sends, and what is recorded."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from starlette.testclient import TestClient

from dashboard.feed import Feed
from dashboard.function.serverless import LateClient
from dashboard.http.api import create_app
from dashboard.http.handlers.commands import EXPIRES_S
from ingest.commands.document import MOST_WAITING
from ingest.tiers import LOCAL_TIERS
from tests.harness.dashboard import NAMES, NOW, a_fleet, client_of
from tests.harness.shadow import Shadows, refused
from tests.harness.tenants import Thing, World, serving

WORLD = World(tuple(Thing(f"{one}-1", one, NOW, 1.0, 1, "", NOW, 0) for one in ("red", "blue")))
BLINK = {"name": "blink", "args": {"times": 3}, "id": "command-1", "by": "kim"}
SENT = {
    "id": "command-1", "name": "blink", "args": {"times": 3}, "status": "CREATED", "final": False,
    "detail": "", "by": "red@example", "at": NOW, "until": NOW + int(EXPIRES_S * 1000),
    "changed": NOW,
}  # fmt: skip


def send(client: Any, token: str, device: str = "red-1", **body: Any) -> Any:
    return client.post(
        f"/api/v1/devices/{device}/commands", json={**BLINK, **body},
        headers={"Authorization": f"Bearer {token}"},
    )  # fmt: skip


def listed(client: Any, token: str, device: str = "red-1") -> Any:
    path = f"/api/v1/devices/{device}/commands"
    return client.get(path, headers={"Authorization": f"Bearer {token}"})


def test_an_operator_sends_a_command_once_and_a_viewer_sees_it() -> None:
    with serving(WORLD) as (client, tables):
        assert send(client, "red-operator").json() == SENT
        assert send(client, "red-operator").json() == SENT
        assert tables.shadows.updates == 1
        page = listed(client, "red-viewer").json()
        assert page == {
            "device": "red-1", "commands": [SENT], "user": "red@example", "may_send": False,
        }  # fmt: skip
        assert listed(client, "red-operator").json()["may_send"] is True
        what = "send the command blink (command-1) to device red-1 by red@example"
        assert tables.acts.told == [(what, "done")] * 2


def test_who_may_not_send_and_what_does_not_exist_is_no_act() -> None:
    with serving(WORLD) as (client, tables):
        assert send(client, "red-viewer").status_code == 403
        assert send(client, "red-operator", "blue-1").status_code == 404
        assert send(client, "red-operator", "ghost").status_code == 404
        assert listed(client, "red-operator", "blue-1").status_code == 404
        assert (tables.acts.objects, tables.shadows.of) == ({}, {})


def test_nothing_is_sent_that_cannot_be_recorded() -> None:
    with serving(WORLD) as (client, tables):
        tables.acts.fail[".json"] = OSError("no route")
        assert send(client, "red-operator").status_code == 502
        assert tables.shadows.of == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Blink"},
        {"name": 7},
        {"expires_s": 1},
        {"expires_s": 1e9},
        {"id": "a b"},
        {"by": "\x00"},
        {"args": {"Times": 1}},
        {"args": {"times": [1]}},
        {"args": {"times": None}},
        {"args": {"text": "x" * 600}},
    ],
)
def test_what_breaks_the_contract_is_refused_with_a_sentence(wrong: dict[str, Any]) -> None:
    with serving(WORLD) as (client, tables):
        answer = send(
            client, "red-operator", **{**wrong, **({"by": "\x00"} if "by" in wrong else {})}
        )
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert tables.shadows.updates == 0


def test_another_command_under_the_same_id_and_one_too_many_are_conflicts() -> None:
    with serving(WORLD) as (client, _):
        assert send(client, "red-operator").status_code == 200
        differs = send(client, "red-operator", args={"times": 4})
        assert (differs.status_code, "another command's" in differs.text) == (409, True)
        for number in range(2, MOST_WAITING + 1):
            assert send(client, "red-operator", id=f"command-{number}").status_code == 200
        full = send(client, "red-operator", id="command-99")
        assert (full.status_code, "commands wait" in full.text) == (409, True)


def test_a_page_of_another_site_sends_nothing() -> None:
    with serving(WORLD) as (client, tables):
        foreign = {"Authorization": "Bearer red-operator", "Sec-Fetch-Site": "cross-site"}
        path = "/api/v1/devices/red-1/commands"
        assert client.post(path, json=BLINK, headers=foreign).status_code == 403
        assert tables.shadows.of == {}


def test_a_dashboard_that_only_reads_says_what_sends_commands() -> None:
    with client_of(a_fleet(), read_only=True) as client:
        page = client.get("/api/v1/devices/dev-01/commands").json()
        assert (page["commands"], page["may_send"]) == ([], False)
        answer = client.post("/api/v1/devices/dev-01/commands", json=BLINK)
        assert (answer.status_code, "penstock device command send" in answer.text) == (403, True)


def test_where_commands_are_not_read_there_are_none() -> None:
    feed = Feed(a_fleet(), NAMES, now_ms=lambda: NOW, fastest_s=0.01)
    with TestClient(create_app(feed, LOCAL_TIERS), "http://127.0.0.1", client=("::1", 1)) as client:
        answer = client.get("/api/v1/devices/dev-01/commands")
        assert (answer.status_code, "penstock device command list" in answer.text) == (404, True)


def test_a_client_that_most_requests_do_not_need_is_made_when_one_does() -> None:
    made: list[Shadows] = []

    def make() -> Shadows:
        made.append(Shadows(NOW))
        made[0].shadow("pump-1").update({"reported": {"batch": 1}})
        return made[0]

    client = LateClient(make)
    assert not made
    for _ in range(2):
        client.get_thing_shadow(thingName="pump-1")
    assert len(made) == 1


def test_a_role_without_the_right_is_a_refusal_and_other_failures_are_not() -> None:
    def fail(error: ClientError) -> int:
        tables = a_fleet()

        def refuse() -> None:
            raise error

        tables.shadows.before = refuse
        with client_of(tables) as client:
            answer = client.post("/api/v1/devices/dev-01/commands", json=BLINK)
            return int(answer.status_code)

    assert fail(refused("AccessDeniedException")) == 403
    assert fail(refused("ThrottlingException")) == 502


def test_a_page_that_has_not_changed_is_not_sent_again() -> None:
    with serving(WORLD) as (client, _):
        tag = listed(client, "red-viewer").headers["etag"]
        again = client.get(
            "/api/v1/devices/red-1/commands",
            headers={"Authorization": "Bearer red-viewer", "If-None-Match": tag},
        )
        assert again.status_code == 304
