"""Which KCL a worker runs, and the lease tables of both versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from botocore.exceptions import ClientError

from consumers.kcl import daemon
from consumers.kcl.capacity import Capacity
from consumers.kcl.first_leases import prepare_leases
from consumers.kcl.jars import KclVersion, installed_version, jars_folder, kcl_version
from consumers.kcl.leases import read_leader, read_leases, release
from ingest.settings import Settings, SettingsError, load
from tests.harness.command import run

KCL = Path(__file__).parents[2] / "infra" / "kcl"
LOCKED = [line.split()[1] for line in (KCL / "jars.sha256").read_text().splitlines()]
DAEMON = "amazon-kinesis-client-multilang-3.5.1.jar"


@pytest.mark.parametrize(
    ("names", "version"),
    [
        (["amazon-kinesis-client-3.5.1.jar", DAEMON, "netty-1.jar"], (3, 5, 1)),
        (["amazon-kinesis-client-3.5.1.jar"], None),  # nothing that a child could talk to
        ([DAEMON], None),
        (["amazon-kinesis-client-3.5.1.jar", "amazon-kinesis-client-3.1.3.jar", DAEMON], None),
        ([], None),
    ],
)
def test_a_folder_holds_a_kcl_when_it_has_one_client_and_its_daemon(
    names: list[str], version: tuple[int, int, int] | None
) -> None:
    assert kcl_version(names) == version


def _filled(folder: Path) -> Path:
    folder.mkdir()
    for name in LOCKED:
        (folder / name).touch()
    return folder


def test_the_daemon_runs_the_jars_that_the_setting_names(tmp_path: Path) -> None:
    settings = Settings(kcl_jars=_filled(tmp_path / "jars"))
    command = daemon.command(tmp_path / "kcl.properties", settings, Capacity(2000, 256, 2))
    assert command[command.index("-cp") + 1] == str(tmp_path / "jars" / "*")
    assert installed_version(settings) >= (3, 5)


def test_without_the_setting_or_with_an_empty_one_the_wheels_jars_are_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PENSTOCK_KCL_JARS", "")
    assert load().kcl_jars is None
    assert installed_version(load()) == KclVersion(3, 1, 3)
    assert jars_folder(load()).name == "jars"


def test_a_folder_without_a_kcl_is_refused_before_anything_starts(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SettingsError, match="`make jars`"):
            installed_version(Settings(kcl_jars=folder))


def test_the_doctor_says_which_kcl_a_worker_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jars = _filled(tmp_path / "jars")
    for folder, ok, found in ((jars, True, f"3.5.1 in {jars}"), (tmp_path, False, "not usable")):
        monkeypatch.setattr("tests.harness.command.extra", {"PENSTOCK_KCL_JARS": str(folder)})
        (kcl,) = [c for c in run(tmp_path, "doctor", "--json").json if c["name"] == "KCL"]
        assert (kcl["ok"], kcl["found"]) == (ok, found)


def test_the_lock_has_every_jar_of_the_pom_and_no_other() -> None:
    namespace = {"m": "http://maven.apache.org/POM/4.0.0"}
    pom = ElementTree.parse(KCL / "pom.xml").getroot()
    properties = pom.find("m:properties", namespace)
    assert properties is not None
    versions = {one.tag.rpartition("}")[2]: one.text or "" for one in properties}

    def text(dependency: ElementTree.Element, name: str) -> str:
        value = dependency.findtext(f"m:{name}", "", namespace)
        return re.sub(r"\$\{(.+)\}", lambda found: versions[found[1]], value)

    named = {
        f"{text(one, 'artifactId')}-{text(one, 'version')}.jar"
        for one in pom.iterfind("m:dependencies/m:dependency", namespace)
    }
    assert named == set(LOCKED)
    assert len(named) == len(LOCKED)


class OneTable:
    """A DynamoDB client over a lease table in which KCL 3.5 keeps everything."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = {row["leaseKey"]["S"]: row for row in rows}

    def describe_table(self, **_: str) -> None: ...

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, *, TableName: str, **_: Any) -> Any:
        if TableName != "app":
            raise ClientError(
                {"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "Scan"
            )
        return [{"Items": list(self.rows.values())}]

    def delete_item(self, *, Key: Any, ExpressionAttributeNames: Any, **more: Any) -> None:
        row = self.rows[Key["leaseKey"]["S"]]
        owner = row[ExpressionAttributeNames["#o"]]
        assert owner == more["ExpressionAttributeValues"][":o"]
        del self.rows[Key["leaseKey"]["S"]]

    def update_item(self, *, Key: Any, **_: Any) -> None:
        del self.rows[Key["leaseKey"]["S"]]["leaseOwner"]

    def put_item(self, *, Item: Any, **_: Any) -> None:
        self.rows[Item["leaseKey"]["S"]] = Item


def _row(key: str, kind: str, **more: str) -> dict[str, Any]:
    values = {"leaseKey": key, "entityType": kind, **more}
    return {name: {"S": value} for name, value in values.items()}


def _one_table() -> OneTable:
    return OneTable(
        _row("shard-0", "LEASE", leaseOwner="dead", checkpoint="LATEST"),
        _row("shard-1", "LEASE", leaseOwner="alive", checkpoint="LATEST"),
        _row("Leader", "LEADER", ownerName="dead"),
        _row("dead", "WORKER_METRIC_STATS"),
        _row("alive", "WORKER_METRIC_STATS"),
    )


def test_leases_and_leader_are_told_apart_in_one_table() -> None:
    tables: Any = _one_table()
    assert [(one.shard, one.owner) for one in read_leases(tables, "app")] == [
        ("shard-0", "dead"),
        ("shard-1", "alive"),
    ]
    assert read_leader(tables, "app") == "dead"
    del tables.rows["Leader"]
    assert read_leader(tables, "app") == ""


def test_what_a_dead_worker_held_in_one_table_is_released_and_nothing_of_a_living_one() -> None:
    tables: Any = _one_table()
    assert release(tables, "app", "dead") == 3
    assert sorted(tables.rows) == ["alive", "shard-0", "shard-1"]
    assert "leaseOwner" not in tables.rows["shard-0"]
    assert tables.rows["shard-1"]["leaseOwner"] == {"S": "alive"}


def test_a_table_with_a_leader_and_no_lease_yet_still_gets_its_first_leases() -> None:
    tables: Any = OneTable(_row("Leader", "LEADER", ownerName="first"))

    class OneShard:
        def get_paginator(self, _: str) -> Any:
            return self

        def paginate(self, **_: str) -> Any:
            keys = {"StartingHashKey": "0", "EndingHashKey": "9"}
            return [{"Shards": [{"ShardId": "shard-0", "HashKeyRange": keys}]}]

    def prepare() -> bool:
        kinesis: Any = OneShard()
        return prepare_leases(
            tables, kinesis, stream="s", application="app", position="TRIM_HORIZON"
        )

    assert prepare()
    assert [one.shard for one in read_leases(tables, "app")] == ["shard-0"]
    assert not prepare()
