"""A role's credentials over loopback, as the AWS SDKs fetch them."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest

from infra.aws.credentials import serve_credentials

SECRET = "wJalrXUtnFEMI-the-secret"


class Sts:
    """Answers as ``AssumeRole`` does, with credentials that last ``lasts_s``; counts calls."""

    def __init__(self, lasts_s: float = 3600) -> None:
        self.lasts_s = lasts_s
        self.calls = 0
        self.fails = False

    def __call__(self) -> Mapping[str, Any]:
        self.calls += 1
        if self.fails:
            raise ConnectionError(f"cannot reach STS with {SECRET}")
        return {
            "AccessKeyId": f"ASIA{self.calls}",
            "SecretAccessKey": SECRET,
            "SessionToken": "token",
            "Expiration": datetime.now(UTC) + timedelta(seconds=self.lasts_s),
        }


@pytest.fixture
def _no_own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)


def _get(env: Mapping[str, str], token: str | None = None) -> dict[str, str]:
    request = urllib.request.Request(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    given = env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] if token is None else token
    if given:
        request.add_header("Authorization", given)
    with urllib.request.urlopen(request, timeout=5) as answer:
        document: dict[str, str] = json.load(answer)
    return document


@pytest.mark.usefixtures("_no_own_credentials")
def test_boto3_finds_them_by_the_two_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_credentials(Sts()) as env:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        credentials = botocore.session.Session().get_credentials()
        assert credentials is not None
        assert credentials.method == "container-role"
        assert credentials.get_frozen_credentials()[:3] == ("ASIA1", SECRET, "token")


@pytest.mark.usefixtures("_no_own_credentials")
def test_boto3_fetches_them_again_before_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    sts = Sts(lasts_s=300)  # less than boto3's own mandatory refresh
    with serve_credentials(sts) as env:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        credentials = botocore.session.Session().get_credentials()
        assert credentials is not None
        first = credentials.get_frozen_credentials().access_key
        assert credentials.get_frozen_credentials().access_key != first


def test_the_role_is_assumed_once_while_its_credentials_last() -> None:
    sts = Sts()
    with serve_credentials(sts) as env:
        assert [_get(env)["AccessKeyId"] for _ in range(3)] == ["ASIA1"] * 3
    assert sts.calls == 1


def test_the_role_is_assumed_again_well_before_they_expire() -> None:
    with serve_credentials(Sts(lasts_s=899)) as env:
        assert [_get(env)["AccessKeyId"] for _ in range(2)] == ["ASIA1", "ASIA2"]


def test_the_expiry_is_told_in_utc() -> None:
    with serve_credentials(Sts()) as env:
        expiry = datetime.fromisoformat(_get(env)["Expiration"])
    assert expiry.tzinfo is not None
    assert timedelta(minutes=59) < expiry - datetime.now(UTC) <= timedelta(hours=1)


@pytest.mark.parametrize("token", ["", "wrong", "\xe9"])
def test_without_its_token_nobody_gets_them(token: str) -> None:
    sts = Sts()
    with serve_credentials(sts) as env, pytest.raises(urllib.error.HTTPError) as refused:
        _get(env, token)
    refused.value.close()
    assert refused.value.code == 401
    assert sts.calls == 0


def test_an_outage_of_sts_does_not_take_away_what_is_still_valid() -> None:
    sts = Sts(lasts_s=60)
    with serve_credentials(sts) as env:
        assert _get(env)["AccessKeyId"] == "ASIA1"
        sts.fails = True
        assert _get(env)["AccessKeyId"] == "ASIA1"
        sts.fails = False
        assert _get(env)["AccessKeyId"] == "ASIA3"


def test_expired_credentials_are_never_served_and_no_secret_is_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    sts = Sts(lasts_s=-1)
    with serve_credentials(sts) as env:
        _get(env)
        sts.fails = True
        with pytest.raises(urllib.error.HTTPError) as refused:
            _get(env)
    body = refused.value.read().decode()
    refused.value.close()
    assert refused.value.code == 503
    assert "ConnectionError" in body
    assert SECRET not in body + str(refused.value) + "".join(capfd.readouterr())


def test_it_listens_on_loopback_and_ends_with_its_context() -> None:
    with serve_credentials(Sts()) as env:
        url = env["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        assert url.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.URLError, match="refused"):
        _get(env)
