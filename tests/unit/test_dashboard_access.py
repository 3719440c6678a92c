"""Who gets an answer of the read API: hosts, tokens, cookies and the header of a proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from dashboard.errors import AccessError
from dashboard.http.access import Access
from tests.harness.dashboard import a_fleet, client_of
from tests.harness.tables import Tables


@pytest.fixture
def tables() -> Tables:
    return a_fleet()


@pytest.fixture
def client(tables: Tables) -> Iterator[TestClient]:
    with client_of(tables) as running:
        yield running


def test_every_answer_forbids_foreign_scripts(client: TestClient) -> None:
    for path in ("/", "/api/v1/summary", "/api/v1/devices/nobody", "/app.js"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy


def test_a_page_elsewhere_that_rebinds_its_name_gets_nothing(tables: Tables) -> None:
    with client_of(tables) as client:
        answer = client.get("/api/v1/summary", headers={"Host": "evil.example"})
        assert answer.status_code == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_beyond_loopback_there_must_be_a_token_or_a_proxy(host: str) -> None:
    with pytest.raises(AccessError, match="token"):
        Access().check_address(host)
    Access(token="t").check_address(host)
    Access(user_header="X-User").check_address(host)


def test_a_token_opens_by_header_address_or_cookie_and_nothing_else_does(tables: Tables) -> None:
    with client_of(tables, Access(token="secret")) as client:
        assert client.get("/api/v1/summary").status_code == 401
        assert client.get("/").status_code == 401
        wrong = {"Authorization": "Bearer wrong"}
        assert client.get("/api/v1/summary", headers=wrong).status_code == 401
        right = {"Authorization": "Bearer secret"}
        assert client.get("/api/v1/summary", headers=right).status_code == 200
        entered = client.get("/?token=secret", follow_redirects=False)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert "httponly" in entered.headers["set-cookie"].lower()
        assert client.get("/api/v1/summary").status_code == 200


def test_a_proxy_s_user_header_opens_and_its_absence_does_not(tables: Tables) -> None:
    with client_of(tables, Access(user_header="X-Forwarded-Email")) as client:
        assert client.get("/api/v1/summary").status_code == 401
        known = {"X-Forwarded-Email": "a@b.c"}
        assert client.get("/api/v1/summary", headers=known).status_code == 200
