"""The page on CloudFront: what is uploaded, in which order, and where its users sign in."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cfnlint.decode import decode

from dashboard.http.access import SECURITY_HEADERS
from infra.aws.page.files import ASK_AGAIN, FOR_EVER, STATIC, TYPES, page_files, upload
from infra.aws.page.sign_in import SignInError, config, discover, of_pool, origin
from infra.aws.stacks.template import TEMPLATE

API: dict[str, Any] = decode(TEMPLATE.parent / "api.yaml")[0]
RESOURCES: dict[str, Any] = API["Resources"]
OUTPUTS = {"PageClient": "abc", "PageScope": "openid email", "PageSends": "id"}
DOMAIN = "https://plant-7-1.auth.eu-west-1.amazoncognito.com"


class Bucket:
    """A bucket in memory, which remembers in which order it was written."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.written: list[str] = []

    def get_paginator(self, _: str) -> Bucket:
        return self

    def paginate(self, **_: Any) -> Any:
        yield {"Contents": [{"Key": key} for key in self.objects]} if self.objects else {}

    def get_object(self, *, Key: str, **_: Any) -> Any:
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}

    def put_object(self, *, Key: str, Body: bytes, **_: Any) -> Any:
        self.objects[Key] = Body
        self.written.append(Key)

    def delete_object(self, *, Key: str, **_: Any) -> Any:
        del self.objects[Key]


def page(folder: Path, script: str) -> list[Any]:
    """A small page with a script."""
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text('<script src="app.js"></script><a href="#/x">')
    (folder / "config.json").write_text("{}")
    (folder / "app.js").write_text(script)
    return page_files({"a": 1}, folder)


# -- files --------------------------------------------------------------------------------------


def test_every_file_of_the_page_has_a_media_type() -> None:
    assert {path.suffix for path in STATIC.rglob("*") if path.is_file()} <= set(TYPES)
    for file in page_files({}):
        assert file.type


def test_every_link_of_the_page_leads_to_a_file_that_is_there_for_ever() -> None:
    files = {file.key: file for file in page_files({})}
    index = files["index.html"].content.decode()
    links = [one for one in re.findall(r'(?:src|href)="([^"]+)"', index) if one[0] != "#"]
    assert len(links) >= 5
    assert {files[link].cache for link in links} == {FOR_EVER}
    assert {files[name].cache for name in ("index.html", "config.json")} == {ASK_AGAIN}


def test_the_same_page_is_not_written_again(tmp_path: Path) -> None:
    bucket, files = Bucket(), page(tmp_path, "one")
    assert upload(bucket, "b", files).written[-2:] == ("config.json", "index.html")
    assert upload(bucket, "b", files) == ((), ())


def test_a_new_version_is_pointed_to_when_all_of_it_is_there_and_the_last_one_stays(
    tmp_path: Path,
) -> None:
    bucket = Bucket()
    keys = []
    for script in ("one", "two", "three"):
        files = page(tmp_path, script)
        keys.append(files[0].key)
        done = upload(bucket, "b", files)
        assert bucket.written[-1] == "index.html"
    assert done.removed == (keys[0],)
    assert set(bucket.objects) == {keys[1], keys[2], "config.json", "index.html"}
    assert keys[2].encode() in bucket.objects["index.html"]


def test_where_users_sign_in_changes_without_the_page(tmp_path: Path) -> None:
    bucket, files = Bucket(), page(tmp_path, "one")
    upload(bucket, "b", files)
    changed = [one._replace(content=b"{}") if one.key == "config.json" else one for one in files]
    assert upload(bucket, "b", changed).written == ("config.json",)


# -- sign-in ------------------------------------------------------------------------------------


def test_the_page_of_a_user_pool_knows_its_addresses_and_no_secret() -> None:
    made = config(of_pool(DOMAIN), OUTPUTS)["sign_in"]
    assert made["authorize"] == f"{DOMAIN}/oauth2/authorize"
    assert made["sign_out"] == f"{DOMAIN}/logout?client_id=abc&logout_uri="
    assert not [name for name in made if "secret" in name]
    client = RESOURCES["Client"]["Properties"]
    assert client["GenerateSecret"] is False
    assert client["AllowedOAuthFlows"] == ["code"]


def test_the_page_of_another_issuer_knows_what_the_issuer_says() -> None:
    said = {
        "authorization_endpoint": "https://id.example/a", "token_endpoint": "https://id.example/t",
        "end_session_endpoint": "https://id.example/e",
    }  # fmt: skip
    made = config(said, {**OUTPUTS, "PageClient": "a b"})["sign_in"]
    assert made["sign_out"] == "https://id.example/e?client_id=a%20b&post_logout_redirect_uri="
    assert made["revoke"] == ""
    assert origin(said) == "https://id.example"
    del said["end_session_endpoint"]
    assert config(said, OUTPUTS)["sign_in"]["sign_out"] == ""


@pytest.mark.parametrize("issuer", ["http://id.example", "http://127.0.0.1:1"])
def test_an_issuer_that_does_not_answer_or_could_be_read_on_the_way_is_refused(issuer: str) -> None:
    with pytest.raises(SignInError, match=r"begins with https|does not say"):
        discover(issuer)


# -- the template -------------------------------------------------------------------------------


def test_the_bucket_is_read_by_this_distribution_alone() -> None:
    bucket = RESOURCES["PageBucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    read, deny = RESOURCES["PageBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert read["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert read["Action"] == "s3:GetObject"
    assert "distribution/${Distribution}" in json.dumps(read["Condition"]["StringEquals"])
    assert deny["Effect"] == "Deny"
    origin = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]["Origins"][0]
    assert origin["OriginAccessControlId"] == {"Fn::GetAtt": ["PageAccess", "Id"]}


def test_the_page_has_the_security_headers_of_the_server_and_one_more_origin() -> None:
    made = RESOURCES["PageHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]
    headers = made["SecurityHeadersConfig"]
    policy = headers["ContentSecurityPolicy"]["ContentSecurityPolicy"]["Fn::Sub"][0]
    server = SECURITY_HEADERS[b"content-security-policy"].decode()
    assert policy == f"{server}; connect-src 'self' ${{Origin}}"
    assert headers["ReferrerPolicy"]["ReferrerPolicy"] == "no-referrer"
    assert all(one["Override"] for one in headers.values())


def test_no_answer_of_the_api_is_cached_and_it_gets_the_token() -> None:
    """CloudFront developer guide, "Use managed cache policies" and "Use managed origin request
    policies": CachingDisabled, and AllViewerExceptHostHeader."""
    (api,) = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]["CacheBehaviors"]
    assert api["PathPattern"] == "/api/*"
    assert api["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert api["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"


@pytest.mark.parametrize("name", ["CertificateArn", "WebAclArn"])
def test_what_cloudfront_takes_from_one_region_alone_is_asked_for_from_there(name: str) -> None:
    pattern = API["Parameters"][name]["AllowedPattern"]
    good = {
        "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/1",
        "WebAclArn": "arn:aws:wafv2:us-east-1:123456789012:global/webacl/a/1",
    }[name]
    assert re.fullmatch(pattern, good)
    assert re.fullmatch(pattern, "")
    assert not re.fullmatch(pattern, good.replace("us-east-1", "eu-west-1"))
