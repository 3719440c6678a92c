"""Some of the faults of ``make chaos``, in the time that a test run has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from infra.emulator.process import Emulator
from tests.chaos.faults import load_all
from tests.chaos.site import Site
from tests.chaos.suite import emulator_in, inflict, on_own_site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chaos")]

SHARED: Final = (
    "duplicate_publishes",
    "an_identity_sent_with_other_content",
    "an_oversize_payload",
    "publish_as_another_device",
    "statements_throttled",
    "writes_applied_and_replies_lost",
    "unprocessed_keys",
    "s3_412_for_our_own_put",
    "put_records_fails_in_part",
    "commands_sent_twice_to_devices_that_reconnect",
)
OWN: Final = ("a_shard_is_split_under_load", "an_exception_that_nobody_foresaw")
SEED: Final = 7


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator_in(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture(scope="module")
def site(aws: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(aws, tmp_path_factory.mktemp("site"), stack="shared", seed=SEED) as shared:
        shared.start_worker()
        yield shared


@pytest.mark.parametrize("name", SHARED)
def test_the_result_is_exact_after(name: str, site: Site) -> None:
    assert inflict(site, load_all()[name])["violations"] == []


@pytest.mark.parametrize("name", OWN)
def test_the_result_is_exact_on_a_site_of_its_own_after(
    name: str, aws: Emulator, tmp_path: Path
) -> None:
    row = on_own_site(aws, tmp_path, OWN.index(name), load_all()[name], SEED)
    assert row["violations"] == []


def test_a_lost_record_is_an_inexact_verdict(site: Site) -> None:
    """The oracle against a pipeline that lost something: a segment is taken away."""
    site.publish({})
    bucket = site.settings.bucket(site.target.account)
    key = site.s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"]
    body = site.s3.get_object(Bucket=bucket, Key=key)
    content, metadata = body["Body"].read(), body["Metadata"]
    site.s3.delete_object(Bucket=bucket, Key=key)
    try:
        assert any(found.startswith("A: ") for found in site.violations())
    finally:
        site.s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata)
