"""Who gets an answer of the read API: hosts, tokens, cookies and the header of a proxy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from dashboard.errors import AccessError
from dashboard.http.access import LOOPBACK_NETWORKS, Access
from dashboard.http.server import server
from dashboard.http.session import SESSION_S, is_session, make_session
from dashboard.http.tokens import read_tokens
from dashboard.principal import Principal
from infra.commands.dashboard import dashboard
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


def test_healthz_says_up_or_down_and_why_is_for_who_has_access(tables: Tables) -> None:
    with client_of(tables, Access(token="secret")) as client:
        answer = client.get("/healthz")
        assert (answer.status_code, answer.text) == (200, "up\n")
        assert client.get("/api/v1/health").status_code == 401
        table = "arn:aws:dynamodb:eu-west-1:123456789012:table/windows"
        tables.fail = RuntimeError(f"{table} is throttled")
        deadline = time.monotonic() + 20
        while (answer := client.get("/healthz")).status_code == 200:
            assert time.monotonic() < deadline
        assert (answer.status_code, answer.text) == (503, "down\n")
        right = {"Authorization": "Bearer secret"}
        assert "123456789012" in client.get("/api/v1/health", headers=right).text


def test_a_token_and_a_user_header_together_are_both_required(tables: Tables) -> None:
    access = Access(token="secret", user_header="X-User")
    user, token = {"X-User": "a@b.c"}, {"Authorization": "Bearer secret"}
    with client_of(tables, access) as client:
        assert client.get("/api/v1/summary").status_code == 401
        assert client.get("/api/v1/summary", headers=user).status_code == 401
        assert client.get("/api/v1/summary", headers=token).status_code == 401
        assert client.get("/api/v1/summary", headers={**user, **token}).status_code == 200
        entered = client.get("/?token=secret", headers=user, follow_redirects=False)
        assert entered.status_code == 303
        assert client.get("/api/v1/summary").status_code == 401, "the session is no user"
        assert client.get("/api/v1/summary", headers=user).status_code == 200


@pytest.mark.parametrize(
    ("proxies", "peer", "status"),
    [
        (("10.0.0.7/32",), "10.0.0.7", 200),
        (("10.0.0.0/24", "fd00::/8"), "fd00::1", 200),
        (("10.0.0.7/32",), "10.0.0.8", 401),
        (LOOPBACK_NETWORKS, "127.0.0.1", 200),
        (LOOPBACK_NETWORKS, "192.168.1.4", 401),
        (LOOPBACK_NETWORKS, "testclient", 401),
    ],
)
def test_a_user_header_counts_from_the_proxy_s_address_only(
    tables: Tables, proxies: tuple[str, ...], peer: str, status: int
) -> None:
    access = Access(user_header="X-User", proxies=proxies)
    with client_of(tables, access, peer=peer) as client:
        answer = client.get("/api/v1/summary", headers={"X-User": "a@b.c"})
        assert answer.status_code == status


def test_an_address_that_a_sender_claims_by_header_is_not_its_address() -> None:
    assert server(lambda *_: None).config.proxy_headers is False  # type: ignore[arg-type]


def test_a_proxy_that_is_no_network_is_refused_before_anything_is_served() -> None:
    with pytest.raises(AccessError, match="no network"):
        Access(user_header="X-User", proxies=("proxy.example",)).check_address("0.0.0.0")


def test_a_token_of_any_characters_opens_and_one_like_it_does_not(tables: Tables) -> None:
    token = "gehe\u00efm-\u20ac"
    with client_of(tables, Access(token=token)) as client:
        as_sent = {b"Authorization": b"Bearer " + token.encode()}
        assert client.get("/api/v1/summary", headers=as_sent).status_code == 200
        for other in (b"Bearer gehe\xefm-?", b"Bearer \xff\xfe", "Bearer gehe\u00efm".encode()):
            answer = client.get("/api/v1/summary", headers={b"Authorization": other})
            assert answer.status_code == 401
        assert client.get("/api/v1/summary", params={"token": "gehe\u00efm"}).status_code == 401
        entered = client.get("/", params={"token": token}, follow_redirects=False)
        assert entered.status_code == 303


def _entered(tables: Tables, access: Access, *, peer: str = "127.0.0.1", **headers: str) -> str:
    with client_of(tables, access, peer=peer) as client:
        entered = client.get("/?token=secret", headers=headers, follow_redirects=False)
        assert entered.status_code == 303
        return str(entered.headers["set-cookie"])


def test_the_cookie_is_no_token_lasts_a_day_s_work_and_stays_on_this_site(tables: Tables) -> None:
    cookie = _entered(tables, Access(token="secret")).lower()
    assert "secret" not in cookie.replace("penstock_session", "")
    assert f"max-age={SESSION_S}" in cookie
    assert SESSION_S <= 12 * 3600
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_the_cookie_is_secure_behind_tls_as_a_trusted_proxy_says(tables: Tables) -> None:
    access, tls = Access(token="secret"), {"X-Forwarded-Proto": "https"}
    assert "secure" in _entered(tables, access, **tls).lower()
    assert "; secure" not in _entered(tables, access).lower()
    assert "; secure" not in _entered(tables, access, peer="10.0.0.9", **tls).lower()


def test_a_session_ends_and_neither_its_date_nor_its_token_can_be_changed() -> None:
    session = make_session("secret", 1000)
    assert is_session("secret", session, 1000 + SESSION_S - 1)
    assert not is_session("secret", session, 1000 + SESSION_S)
    assert not is_session("other", session, 1000)
    expiry, _, signature = session.partition(".")
    for forged in (
        f"{int(expiry) + 1}.{signature}", f"{expiry}.", expiry, "", f"{expiry}.\u20ac",
        f"-1.{signature}", f"{'9' * 5000}.{signature}",
    ):  # fmt: skip
        assert not is_session("secret", forged, 1000)


FILE = """
[[token]]
name = "screen"
secret = "0123456789abcdef"
role = "viewer"
groups = ["g0", "g2"]

[[token]]
secret = "fedcba9876543210"
role = "operator"
groups = ["*"]
"""


def test_a_file_of_tokens_gives_each_its_own_scope(tables: Tables) -> None:
    tokens = read_tokens(FILE)
    assert [one.principal for one in tokens] == [
        Principal("screen", frozenset({"g0", "g2"}), "viewer"),
        Principal("", None, "operator"),
    ]
    with client_of(tables, Access(token="secret", tokens=tokens)) as client:
        for token, total in (("0123456789abcdef", 21), ("fedcba9876543210", 41), ("secret", 41)):
            headers = {"Authorization": f"Bearer {token}"}
            summary = client.get("/api/v1/summary", headers=headers).json()
            assert summary["devices"]["total"] == total


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[[token]]", "[[tokens]]", "tokens"),
        ('role = "viewer"', 'role = "root"', "root"),
        ('["g0", "g2"]', "[]", "groups"),
        ('groups = ["g0", "g2"]', 'group = "g0"', "group"),
        ("0123456789abcdef", "short", "secret"),
        ("0123456789abcdef", "fedcba9876543210", "one secret"),
        ("=", ":", "cannot be read"),
    ],
)
def test_a_file_of_tokens_that_is_wrong_is_refused_with_the_place(
    old: str, new: str, said: str
) -> None:
    with pytest.raises(AccessError, match=said):
        read_tokens(FILE.replace(old, new))


def test_a_token_s_scope_is_what_it_is_good_for(tables: Tables) -> None:
    access = Access(token="secret", scope=Principal("", frozenset({"g1"}), "viewer"))
    right = {"Authorization": "Bearer secret"}
    with client_of(tables, access) as client:
        assert client.get("/api/v1/summary", headers=right).json()["groups"] == ["g1"]
        assert client.get("/api/v1/devices/dev-00", headers=right).status_code == 404


@pytest.mark.parametrize(
    ("arguments", "token", "said"),
    [
        (["--token-scope", "viewer:g1"], "", "which is not set"),
        (["--token-scope", "root:*"], "secret", "is no scope"),
        (["--oidc-issuer", "https://issuer.example"], "", "belong together"),
        (["--oidc-audience", "client"], "", "belong together"),
        (
            ["--oidc-issuer", "https://i.example", "--oidc-audience", "c", "--user-header", "X"],
            "",
            "not both",
        ),
        (["--oidc-issuer", "http://i.example", "--oidc-audience", "c"], "", "begins with https"),
        (["--tokens", "open.toml"], "", "chmod 600"),
        (["--tokens", "none.toml"], "", "cannot be read"),
        (["--host", "0.0.0.0"], "", "set a token"),
    ],
)
def test_the_command_refuses_what_would_let_in_the_wrong_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], token: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("open.toml").write_text(FILE)
    Path("open.toml").chmod(0o644)
    monkeypatch.setenv("PENSTOCK_DASHBOARD_TOKEN", token)
    result = CliRunner().invoke(dashboard, arguments)
    assert result.exit_code != 0
    assert said in " ".join(f"{result.output} {result.exception}".replace("│", " ").split())
