"""Tokens of an issuer open the read API, and nothing that is like one does."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dashboard.errors import AccessError
from dashboard.http.access import Access
from dashboard.http.oidc import LEEWAY_S, discover
from tests.harness.dashboard import NAMES, client_of
from tests.harness.issuer import AUDIENCE, KID, FakeIssuer, an_issuer
from tests.harness.tables import Tables
from tests.harness.tenants import Thing, World

WORLD = World(tuple(Thing(f"{one}-1", one, 1, 1.0, 1, "open", 1, 0) for one in ("red", "blue")))
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def issuer() -> Iterator[FakeIssuer]:
    with an_issuer() as running:
        yield running


@pytest.fixture
def access(issuer: FakeIssuer) -> Access:
    return Access(token="shared", verify=discover(issuer.url, AUDIENCE).claims)


def status(access: Access, token: str) -> int:
    tables = Tables()
    WORLD.fill(tables)
    with client_of(tables, access, names=NAMES) as client:
        headers = {b"Authorization": f"Bearer {token}".encode("latin-1")}
        return int(client.get("/api/v1/summary", headers=headers).status_code)


def test_a_good_token_says_who_asks(issuer: FakeIssuer, access: Access) -> None:
    tables = Tables()
    WORLD.fill(tables)
    token = issuer.token(issuer.claims(time.time()))
    headers = {"Authorization": f"Bearer {token}"}
    with client_of(tables, access) as client:
        assert client.get("/api/v1/summary", headers=headers).json()["groups"] == ["red"]
        assert client.get("/api/v1/devices/blue-1", headers=headers).status_code == 404
        page = client.get("/api/v1/alerts", headers=headers).json()
        assert (page["user"], page["may_change"]) == ("kim@hall.example", True)
        shared = {"Authorization": "Bearer shared"}
        assert client.get("/api/v1/summary", headers=shared).json()["groups"] == ["blue", "red"]
        assert client.get("/api/v1/summary").status_code == 401, "not even on loopback"
        assert client.get(f"/?token={token}").status_code == 401, "addresses are logged"


def _confused(issuer: FakeIssuer) -> str:
    """Signed by HMAC with the public key as the secret, as if that were a shared one."""
    pem = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = issuer.claims(time.time())
    head, body = (
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=")
        for one in ({"alg": "HS256", "typ": "JWT", "kid": KID}, claims)
    )
    signature = jwt.get_algorithm_by_name("HS256")
    signed = signature.sign(head + b"." + body, pem)
    return b".".join([head, body, base64.urlsafe_b64encode(signed).rstrip(b"=")]).decode()


def _with(**other: Any) -> Callable[[FakeIssuer], str]:
    return lambda issuer: issuer.token(issuer.claims(time.time(), **other))


def _tampered(issuer: FakeIssuer) -> str:
    head, _, signature = issuer.token(issuer.claims(time.time())).split(".")
    body = json.dumps(issuer.claims(time.time(), **{"custom:groups": "*"})).encode()
    return f"{head}.{base64.urlsafe_b64encode(body).rstrip(b'=').decode()}.{signature}"


@pytest.mark.parametrize(
    "forge",
    [
        _with(exp=1), _with(exp=None), _with(iss="https://elsewhere.example"), _with(iss=None),
        _with(aud="another-client"), _with(aud=None), _with(aud=[]), _with(sub=None),
        lambda issuer: _with(nbf=time.time() + 600)(issuer),
        lambda issuer: _with(exp=time.time() - LEEWAY_S - 5)(issuer),
        lambda issuer: issuer.token(issuer.claims(time.time()), key=OTHER),
        lambda issuer: issuer.token(issuer.claims(time.time()), key=OTHER, kid="key-2"),
        lambda issuer: issuer.token(
            issuer.claims(time.time()), key=OTHER, jku="http://127.0.0.1:1/keys"
        ),
        lambda issuer: jwt.encode(issuer.claims(time.time()), issuer.key, "RS256"),
        lambda issuer: jwt.encode(issuer.claims(time.time()), "", "none", {"kid": KID}),
        _confused, _tampered,
        lambda issuer: issuer.token(issuer.claims(time.time()))[:-8],
        lambda _: "a.b.c", lambda _: "..", lambda _: "\xff.\xff.\xff",
    ],
)  # fmt: skip
def test_nothing_else_does(
    issuer: FakeIssuer, access: Access, forge: Callable[[FakeIssuer], str]
) -> None:
    assert status(access, issuer.token(issuer.claims(time.time()))) == 200
    assert status(access, forge(issuer)) == 401


def test_made_up_keys_do_not_have_the_issuer_s_read_each_time(issuer: FakeIssuer) -> None:
    verify = discover(issuer.url, AUDIENCE).claims
    before = issuer.reads
    for number in range(50):
        token = issuer.token(issuer.claims(time.time()), key=OTHER, kid=f"key-{number}")
        assert verify(token) is None
    assert issuer.reads - before <= 2


def test_an_issuer_that_does_not_answer_is_said_and_nobody_is_let_in() -> None:
    with an_issuer() as gone:
        access = Access(verify=discover(gone.url, AUDIENCE).claims)
        token = gone.token(gone.claims(time.time()))
    assert status(access, token) == 503


def test_an_issuer_is_checked_before_anything_is_served(issuer: FakeIssuer) -> None:
    for url, said in (
        ("http://issuer.example", "https"),
        ("file:///etc/passwd", "https"),
        (f"{issuer.url}/", "calls itself"),
        (issuer.url.replace("/pool", "/nothing/.well-known/x"), "calls itself"),
    ):
        with pytest.raises(AccessError, match=said):
            discover(url, AUDIENCE)
