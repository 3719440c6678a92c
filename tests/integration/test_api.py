"""The read API behind the embedded API Gateway, and the page on the embedded CloudFront: made with
`penstock deploy --api`, asked with real tokens of the embedded Cognito, and away again. The
function runs its package, as its role.

The package is for this machine's processor here; wheels for another one are its only difference."""

from __future__ import annotations

import base64
import json
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.aws.removal.holdings import holdings
from infra.target import Target
from tests.harness.api_contract import Answer, check_contract
from tests.harness.explore_api import Send, explore
from tests.integration.account import STACK, Account

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("api")]

PASSWORD = "Correct-Horse-7-Battery"
PROCESSOR = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    opened = Account(tmp_path)
    yield opened
    opened.close()


def _succeeds(account: Account, *arguments: str) -> Any:
    result = account.penstock(*arguments)
    assert result.code == 0, (arguments, result.err)
    return result.json if "--json" in arguments else None


def _token(cognito: Any, pool: str, client: str, user: str, *groups: str, sees: str = "") -> str:
    """The id token of a new user."""
    attributes = [{"Name": "email", "Value": user}]
    attributes += [{"Name": "custom:groups", "Value": sees}] if sees else []
    cognito.admin_create_user(UserPoolId=pool, Username=user, UserAttributes=attributes)
    cognito.admin_set_user_password(
        UserPoolId=pool, Username=user, Password=PASSWORD, Permanent=True
    )
    for group in groups:
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=user, GroupName=group)
    answer = cognito.admin_initiate_auth(
        UserPoolId=pool, ClientId=client, AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": user, "PASSWORD": PASSWORD},
    )  # fmt: skip
    return str(answer["AuthenticationResult"]["IdToken"])


def _foreign_token(cognito: Any) -> str:
    """A good token of another issuer: of a user pool that is not the API's."""
    pool = cognito.create_user_pool(PoolName="other")["UserPool"]["Id"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName="other", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]
    token = _token(cognito, pool, client, "mallory@hall.example")
    cognito.delete_user_pool(UserPoolId=pool)
    return token


def _machine_token(target: Target, pool: str) -> tuple[str, str]:
    """A client of the user pool for a program, and an access token with the scope to read."""
    made = target.client("cognito-idp").create_user_pool_client(
        UserPoolId=pool, ClientName="program", GenerateSecret=True,
        AllowedOAuthFlowsUserPoolClient=True, AllowedOAuthFlows=["client_credentials"],
        AllowedOAuthScopes=[f"{STACK}/read"],
    )["UserPoolClient"]  # fmt: skip
    answer = httpx.post(
        f"{target.settings.endpoint_url}/oauth2/token",
        auth=(made["ClientId"], made["ClientSecret"]),
        data={"grant_type": "client_credentials", "scope": f"{STACK}/read"},
    )
    return made["ClientId"], answer.json()["access_token"]


def _add_device(target: Target, name: str, group: str) -> None:
    target.client("dynamodb").put_item(
        TableName=target.settings.devices_table,
        Item={"device": {"S": name}, "group": {"S": group}, "type": {"S": "pump"}},
    )


class Gateway:
    """The API, as it is asked from outside."""

    def __init__(self, target: Target, url: str) -> None:
        api = httpx.URL(url).host.partition(".")[0]
        self._url = f"{target.settings.endpoint_url}/_aws/execute-api/{api}/$default"

    def ask(self, path: str, token: str = "", method: str = "GET") -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = httpx.request(method, self._url + path, headers=headers, timeout=30)
        return Answer(answer.status_code, answer.content)

    def sender(self, client: httpx.Client, token: str) -> Send:
        """Sends requests that are made for another address."""

        def send(request: httpx.Request) -> httpx.Response:
            target = self._url + request.url.raw_path.decode()
            return client.request(
                request.method, target, headers={"Authorization": f"Bearer {token}"}
            )

        return send


class CloudFront:
    """Page and API at the distribution's address; TLS ended before."""

    def __init__(self, target: Target, domain: str) -> None:
        self._endpoint, self._domain = str(target.settings.endpoint_url), domain

    def ask(self, path: str, token: str = "", method: str = "GET") -> httpx.Response:
        headers = {"Host": self._domain, "X-Forwarded-Proto": "https"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.request(method, self._endpoint + path, headers=headers, timeout=30)


def _has_the_page(page: CloudFront, bucket: str, endpoint: str, client: str) -> None:
    index = page.ask("/")
    assert index.status_code == 200
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert f"connect-src 'self' {endpoint}" in index.headers["content-security-policy"]
    assert index.headers["x-frame-options"] == "DENY"
    (script,) = re.findall(r'src="([0-9a-f]{16}/app\.js)"', index.text)
    assert "immutable" in page.ask(f"/{script}").headers["cache-control"]
    sign_in = page.ask("/config.json").json()["sign_in"]
    assert (sign_in["client_id"], sign_in["sends"]) == (client, "id")
    assert sign_in["authorize"] == f"{endpoint}/oauth2/authorize"
    # what is not there is no secret of S3's, and nobody reads the bucket but the distribution
    assert page.ask("/nothing.js").status_code == 403
    assert httpx.get(f"{endpoint}/{bucket}/index.html").status_code == 403


def _has_the_api(page: CloudFront, viewer: str) -> None:
    assert page.ask("/api/v1/devices").status_code == 401
    found = page.ask("/api/v1/devices?limit=1", viewer)
    assert [one["device"] for one in found.json()["devices"]] == ["pump-1"]
    assert page.ask("/api/v1/alerts/acknowledge", viewer, "POST").status_code == 403
    first = page.ask("/api/v1/latest?watch=pump-1,pump-2", viewer)
    assert [one["device"] for one in first.json()["watched"]] == ["pump-1"]
    assert first.headers["content-security-policy"].count("default-src") == 1


def _is_read_only(gateway: Gateway, token: str) -> None:
    act = gateway.ask("/api/v1/alerts/acknowledge", token, "POST")
    assert act.status == 404
    assert gateway.ask("/metrics", token).status == 404


def _forged(token: str) -> str:
    """The same token with more in it than was signed."""
    head, claims, signature = token.split(".")
    payload = json.loads(base64.urlsafe_b64decode(claims + "=="))
    payload["exp"] = int(time.time()) + 86_400
    text = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"{head}.{text}.{signature}"


def test_the_api_is_made_asked_with_tokens_and_taken_away_with_nothing_left(
    account: Account,
) -> None:
    target = account.target()
    empty = holdings(target)
    (account.folder / "penstock.toml").write_text("alerts = true\n")
    made = _succeeds(
        account, "deploy", "--shards", "1", "--no-protect", "--api",
        "--parameter", f"Architecture={PROCESSOR}", "--json",
    )  # fmt: skip
    gateway, cognito = Gateway(target, made["ApiUrl"]), target.client("cognito-idp")
    pool, client = made["ApiUserPool"], made["ApiClient"]
    _add_device(target, "pump-1", "hall-1")
    _add_device(target, "pump-2", "hall-2")

    # who may ask
    admin = _token(cognito, pool, client, "kim@hall.example", "admin", sees="*")
    viewer = _token(cognito, pool, client, "lee@hall.example", "viewer", sees="hall-1")
    assert gateway.ask("/api/v1/devices").status == 401
    assert gateway.ask("/api/v1/devices", _foreign_token(cognito)).status == 401
    assert gateway.ask("/api/v1/devices", _forged(viewer)).status == 401
    _is_read_only(gateway, admin)

    # what they see
    assert _devices(gateway, admin) == {"pump-1", "pump-2"}
    assert _devices(gateway, viewer) == {"pump-1"}
    assert gateway.ask("/api/v1/devices/pump-2", viewer).status == 404

    # the page, and the API behind the same address
    page = CloudFront(target, made["PageDomain"])
    _has_the_page(page, made["PageBucket"], str(target.settings.endpoint_url), client)
    _has_the_api(page, viewer)

    # every answer is one that the document promises
    assert gateway.ask("/api/v1/alerts", viewer).status == 200
    counts = check_contract(lambda path: gateway.ask(path, admin), "pump-1", requests=60)
    assert counts[200] > 10
    with httpx.Client(timeout=30) as http:
        explored = explore(gateway.sender(http, admin), "pump-1", examples=5, reads_only=True)
    assert explored[200] > 10 < explored[400]

    # a scope is asked for: people's id tokens have none
    program, access = _machine_token(target, pool)
    _succeeds(
        account, "deploy", "--parameter", f"Scopes={STACK}/read",
        "--parameter", f"Audience={client},{program}",
    )  # fmt: skip
    assert gateway.ask("/api/v1/summary", admin).status == 403
    assert gateway.ask("/api/v1/summary", access).status == 200
    assert gateway.ask("/api/v1/summary").status == 401
    sign_in = page.ask("/config.json").json()["sign_in"]
    assert (sign_in["scope"], sign_in["sends"]) == (f"openid email {STACK}/read", "access")

    _succeeds(account, "destroy", "--delete-data", "--discard", "--yes")
    assert holdings(target) == empty


def _devices(gateway: Gateway, token: str) -> set[str]:
    answer = gateway.ask("/api/v1/devices", token)
    assert answer.status == 200, answer
    return {one["device"] for one in json.loads(answer.body)["devices"]}
