"""S3 in the embedded AWS: full disks, and missing keys.

Sources: S3 user guide, "Data durability"; API reference, GetObject and HeadObject, permissions.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.emulator.process import Emulator
from infra.emulator.usage import read_usage
from tests.integration.conftest import STACK, target_of

pytestmark = STACK
ONCE = Config(retries={"total_max_attempts": 1})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB, which the whole state of an embedded AWS fits in."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(mounted)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def s3_of(emulator: Emulator) -> Any:
    session = target_of(emulator).session()
    return session.client("s3", endpoint_url=emulator.endpoint_url, config=ONCE)


def test_an_object_that_cannot_be_stored_is_refused_and_what_was_stored_outlives_a_restart(
    small_disk: Path,
) -> None:
    running = Emulator.start(small_disk, persist=True)
    s3 = s3_of(running)
    s3.create_bucket(Bucket="small")
    body = b"x" * 1024 * 1024
    stored: list[str] = []

    def fill() -> None:
        for number in range(20):
            s3.put_object(Bucket="small", Key=f"object-{number}", Body=body, IfNoneMatch="*")
            stored.append(f"object-{number}")

    with pytest.raises(ClientError, match="InternalError") as error:
        fill()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert 5 <= len(stored) < 16
    assert _keys(s3) == set(stored)
    s3.delete_object(Bucket="small", Key=stored.pop())
    s3.put_object(Bucket="small", Key="again", Body=body, IfNoneMatch="*")  # there is room again
    s3.delete_object(Bucket="small", Key=stored.pop())  # room for the state that is saved
    port, mqtt_port = int(running.endpoint_url.rpartition(":")[2]), running.mqtt_port
    running.stop()
    again = Emulator.start(small_disk, gateway_port=port, mqtt_port=mqtt_port, persist=True)
    try:
        assert _keys(s3_of(again)) == {*stored, "again"}
        assert s3_of(again).get_object(Bucket="small", Key=stored[-1])["Body"].read() == body
    finally:
        again.stop()


def _keys(s3: Any) -> set[str]:
    return {one["Key"] for one in s3.list_objects_v2(Bucket="small").get("Contents", [])}


def test_a_missing_key_is_forbidden_to_whoever_may_not_list(emulator: Emulator) -> None:
    target = target_of(emulator)
    root = target.client("s3")
    root.create_bucket(Bucket="private")
    root.put_object(Bucket="private", Key="there", Body=b"x")
    iam = target.client("iam")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
    for name, actions in {
        "reader": [("s3:GetObject", "arn:aws:s3:::private/*")],
        "lister": [
            ("s3:GetObject", "arn:aws:s3:::private/*"),
            ("s3:ListBucket", "arn:aws:s3:::private"),
        ],
    }.items():
        iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        )
        statements = [{"Effect": "Allow", "Action": a, "Resource": r} for a, r in actions]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=document)
        target.roles[name] = f"arn:aws:iam::{target.account}:role/{name}"
    for role, status in (("reader", 403), ("lister", 404)):
        s3 = target.client("s3", role)
        assert s3.get_object(Bucket="private", Key="there")["Body"].read() == b"x"
        for call in (s3.get_object, s3.head_object):
            with pytest.raises(ClientError) as error:
                call(Bucket="private", Key="missing")
            assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_requests_and_bytes_are_counted_by_the_class_that_is_billed(emulator: Emulator) -> None:
    """S3 pricing: PUT, COPY, POST and LIST; GET and all others; DELETE is free."""
    s3 = target_of(emulator).client("s3")
    s3.create_bucket(Bucket="counted")
    before = read_usage(emulator.endpoint_url)
    s3.put_object(Bucket="counted", Key="a", Body=b"x" * 1000)
    s3.list_objects_v2(Bucket="counted")
    s3.get_object(Bucket="counted", Key="a")["Body"].read()
    s3.head_object(Bucket="counted", Key="a")
    s3.delete_object(Bucket="counted", Key="a")
    counts = read_usage(emulator.endpoint_url).since(before).as_document()["s3"]
    assert counts["put_requests"] == 2
    assert counts["get_requests"] == 2
    assert counts["bytes_in"] == 1000
    assert counts["bytes_out"] >= 1000
