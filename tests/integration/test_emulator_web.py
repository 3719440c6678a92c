"""CloudFront and Cognito in the embedded AWS, where it is extended.

Sources: CloudFront developer guide, "Use various origins with CloudFront distributions"; API
Gateway developer guide, "Invoke URL"; Cognito developer guide, "The token revocation endpoint".
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from infra.emulator.process import Emulator
from tests.integration.conftest import STACK, target_of

pytestmark = STACK

NO_CACHE = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_VIEWER = "216adef6-5c7f-47e4-b989-5492eafa07d3"
ALL_BUT_HOST = "b689b0a8-53d0-40ab-baf2-68738e2966ac"


@pytest.fixture
def api(emulator: Emulator) -> Iterator[str]:
    """An HTTP API without a route, which answers 404 to everything."""
    client = target_of(emulator).client("apigatewayv2")
    made = client.create_api(Name="empty", ProtocolType="HTTP")["ApiId"]
    client.create_stage(ApiId=made, StageName="$default", AutoDeploy=True)
    yield made
    client.delete_api(ApiId=made)


def _distribution(emulator: Emulator, host: str, policy: str) -> str:
    """The domain of a distribution in front of a host."""
    origin = {
        "Id": "api", "DomainName": host,
        "CustomOriginConfig": {
            "HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "https-only",
        },
    }  # fmt: skip
    config: dict[str, Any] = {
        "CallerReference": str(uuid.uuid4()), "Comment": "", "Enabled": True,
        "Origins": {"Quantity": 1, "Items": [origin]},
        "DefaultCacheBehavior": {
            "TargetOriginId": "api", "ViewerProtocolPolicy": "https-only",
            "CachePolicyId": NO_CACHE, "OriginRequestPolicyId": policy,
        },
    }  # fmt: skip
    made = target_of(emulator).client("cloudfront").create_distribution(DistributionConfig=config)
    return str(made["Distribution"]["DomainName"])


def _get(emulator: Emulator, domain: str) -> httpx.Response:
    headers = {"Host": domain, "X-Forwarded-Proto": "https"}
    return httpx.get(f"{emulator.endpoint_url}/api/v1/summary?a=%20", headers=headers)


def test_a_distribution_reaches_an_http_api_by_the_name_of_the_api_alone(
    emulator: Emulator, api: str
) -> None:
    host = f"{api}.execute-api.us-east-1.amazonaws.com"
    reached = _get(emulator, _distribution(emulator, host, ALL_BUT_HOST))
    assert (reached.status_code, reached.json()) == (404, {"message": "Not Found"})
    assert "apigw-requestid" in reached.headers
    refused = _get(emulator, _distribution(emulator, host, ALL_VIEWER))
    assert (refused.status_code, refused.json()) == (403, {"message": "Forbidden"})


def test_a_refresh_token_that_was_revoked_at_the_domain_gives_no_token(emulator: Emulator) -> None:
    cognito = target_of(emulator).client("cognito-idp")
    pool = cognito.create_user_pool(PoolName="revoked")["UserPool"]["Id"]
    flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName="page", ExplicitAuthFlows=flows
    )["UserPoolClient"]["ClientId"]
    cognito.admin_create_user(UserPoolId=pool, Username="kim")
    cognito.admin_set_user_password(
        UserPoolId=pool, Username="kim", Password="Correct-Horse-7", Permanent=True
    )
    token = cognito.admin_initiate_auth(
        UserPoolId=pool, ClientId=client, AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "kim", "PASSWORD": "Correct-Horse-7"},
    )["AuthenticationResult"]["RefreshToken"]  # fmt: skip

    def post(path: str, **form: str) -> int:
        sent = {"client_id": client, **form}
        return httpx.post(f"{emulator.endpoint_url}/oauth2/{path}", data=sent).status_code

    def renewed() -> int:
        return post("token", grant_type="refresh_token", refresh_token=token)

    assert renewed() == 200
    assert post("revoke") == 400
    assert post("revoke", token=token) == 200
    assert renewed() == 400
    cognito.delete_user_pool(UserPoolId=pool)
