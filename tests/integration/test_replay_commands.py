"""``audit`` and ``replay`` as a user runs them, on a stack of the embedded AWS without a worker."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.aws.stacks.cloudformation import deploy
from infra.emulator.process import Emulator
from infra.target import Target
from tests.harness import command
from tests.harness.replayed import Pipeline
from tests.harness.stream import read_stream
from tests.integration.conftest import STACK, commands_on, target_of

pytestmark = STACK

NAME = "replayed"
SPAN = ("--from", "2026-11-23T07:00Z", "--to", "2026-11-23T09:00Z")


@pytest.fixture(scope="module")
def archive(emulator: Emulator) -> Target:
    """A stack whose archive holds what a worker committed, and whose hot tables are empty."""
    target = target_of(emulator, NAME)
    deploy(
        target.client("cloudformation"),
        NAME,
        {"ShardCount": "1", "DeletionProtection": "false", "WithSimulator": "false"},
        on_event=lambda _: None,
        interval=0.05,
    )
    pipeline = Pipeline(12)
    pipeline.send(400)
    pipeline.work()
    s3 = target.client("s3")
    for key, (body, metadata) in pipeline.s3.objects.items():
        s3.put_object(
            Bucket=target.settings.bucket(target.account), Key=key, Body=body, Metadata=metadata
        )
    return target


@pytest.fixture
def folder(
    emulator: Emulator, archive: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    with commands_on(emulator, NAME, monkeypatch):
        yield tmp_path


def test_what_an_audit_finds_missing_a_replay_adds(archive: Target, folder: Path) -> None:
    before = command.run(folder, "audit", *SPAN, "--json")
    assert before.code == 1, before.err
    assert before.json["verdict"] == "different"
    assert {one["kind"] for one in before.json["differences"]} == {"missing"}
    assert all("penstock replay --from" in one["mend"] for one in before.json["differences"])

    dry = command.run(folder, "replay", *SPAN, "--dry-run", "--json")
    assert dry.code == 0, dry.err
    assert dry.json["windows"] == before.json["windows"]

    made = command.run(folder, "replay", *SPAN, "--processes", "2", "--json")
    assert made.code == 0, made.err
    assert made.json["windows"] == before.json["windows"]
    after = command.run(folder, "audit", *SPAN)
    assert after.code == 0, after.out
    assert "clean" in after.out
    assert "read units" in after.err

    again = command.run(folder, "replay", *SPAN)
    assert "0 readings added, 0 windows written: nothing was missing" in again.out


def test_a_mended_window_is_named_by_its_own_command(archive: Target, folder: Path) -> None:
    command.run(folder, "replay", *SPAN)
    dynamodb = archive.client("dynamodb")
    item = dynamodb.scan(TableName=archive.settings.windows_table, Limit=1)["Items"][0]
    key = {name: item[name] for name in ("device", "window")}
    dynamodb.delete_item(TableName=archive.settings.windows_table, Key=key)
    found = command.run(folder, "audit", *SPAN, "--device", item["device"]["S"], "--json")
    assert found.code == 1
    assert [one["window"] for one in found.json["differences"]] == [item["window"]["S"]]
    words = found.json["differences"][0]["mend"].split()
    assert command.run(folder, *words[1:]).code == 0
    assert command.run(folder, "audit", *SPAN).code == 0


def test_a_rebuild_makes_wrong_windows_right_and_leaves_what_it_cannot_prove(
    archive: Target, folder: Path
) -> None:
    command.run(folder, "replay", *SPAN)
    dynamodb, table = archive.client("dynamodb"), archive.settings.windows_table
    items = dynamodb.scan(TableName=table)["Items"]
    wrong, extra = [item for item in items if item["window"]["S"].startswith("1h#")][:2]
    wrong["n"] = {"N": "77"}
    extra["ids"]["M"]["boot-two"] = {"S": "5-6"}
    for item in (wrong, extra):
        item["updated_at"] = {"N": "0"}  # nothing is on its way any more
        dynamodb.put_item(TableName=table, Item=item)
    found = command.run(folder, "audit", *SPAN, "--json").json
    assert sorted(one["kind"] for one in found["differences"]) == ["extra", "wrong"]
    made = command.run(folder, "rebuild", *SPAN, "--json")
    assert made.code == 1, made.err
    assert (made.json["written"], made.json["left"]) == (1, 1)
    made = command.run(folder, "rebuild", *SPAN, "--drop-unarchived", "--json")
    assert made.code == 0, made.err
    assert (made.json["written"], made.json["left"]) == (1, 0)
    assert command.run(folder, "audit", *SPAN).code == 0
    assert not list((folder / ".penstock").glob("rebuild-*"))


def test_an_interrupted_rebuild_goes_on(archive: Target, folder: Path) -> None:
    state = folder / ".penstock" / f"rebuild-{NAME}.json"
    state.parent.mkdir()
    hours = (1_795_417_200_000, 1_795_420_800_000)
    state.write_text(
        json.dumps({"start": hours[0], "end": 1_795_424_400_000, "devices": [],
                    "tiers": ["1m", "1h"], "drop": False, "done": [hours[0]]})
    )  # fmt: skip
    made = command.run(folder, "rebuild")
    assert made.code == 0, made.err
    assert "1 of 2 chunks were rebuilt before" in made.err
    assert not state.exists()


def test_a_new_table_of_one_tier_is_made_and_audited(archive: Target, folder: Path) -> None:
    made = command.run(folder, "replay", *SPAN, "--tier", "1m", "--into", "replayed-new", "--json")
    assert made.code == 0, made.err
    pages = archive.client("dynamodb").get_paginator("scan").paginate(TableName="replayed-new")
    items = [item for page in pages for item in page["Items"]]
    assert len(items) == made.json["windows"]
    assert {item["window"]["S"].split("#")[0] for item in items} == {"1m"}
    rest = command.run(
        folder, "replay", *SPAN, "--tier", "1m", "--into", "replayed-new", "--dry-run", "--json"
    )
    assert rest.json == {"windows": 0, "readings": {"1m": 0}}


def test_a_segment_in_glacier_is_named_and_nothing_is_replayed_without_it(
    archive: Target, folder: Path
) -> None:
    bucket, s3 = archive.settings.bucket(archive.account), archive.client("s3")
    key = s3.list_objects_v2(Bucket=bucket, Prefix="telemetry/")["Contents"][0]["Key"]
    found = s3.get_object(Bucket=bucket, Key=key)
    whole = {"Body": found["Body"].read(), "Metadata": found["Metadata"]}
    s3.put_object(Bucket=bucket, Key=key, StorageClass="GLACIER", **whole)
    try:
        for name in ("audit", "replay", "rebuild"):
            refused = command.run(folder, name, *SPAN)
            assert refused.code == 1, refused.out
            assert f"{key} is in S3 Glacier" in refused.err, name
            assert "aws s3api restore-object" in refused.err
    finally:
        s3.put_object(Bucket=bucket, Key=key, **whole)
    assert command.run(folder, "replay", *SPAN).code == 0


def test_wrong_use_is_one_sentence(folder: Path) -> None:
    for arguments, sentence in (
        (("--tier", "7m"), "there is no tier '7m' here"),
        (("--from", "2026-11-24", "--to", "2026-11-23"), "is not before"),
        (("--device", "a b"), "is not a device name"),
    ):
        for name in ("audit", "replay"):
            result = command.run(folder, name, *arguments)
            assert result.code == 1
            assert sentence in result.err


def test_ctrl_c_stops_a_replay_in_order_and_the_same_command_goes_on(folder: Path) -> None:
    running = command.start(folder, "replay", *SPAN, "--rate", "20", "--into", "replayed-slow")
    assert running.stderr is not None
    for line in running.stderr:
        if "created table" in line:
            break
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 130, out
    assert "the same command goes on" in out
    assert command.run(folder, "replay", *SPAN, "--into", "replayed-slow").code == 0


def test_rejects_are_listed_shown_and_put_into_the_stream_corrected(
    archive: Target, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = command.run(folder, "rejects", "list", *SPAN, "--reason", "clock_ahead", "--json")
    assert listed.code == 0, listed.err
    rejects = listed.json["rejects"]
    assert rejects
    assert {one["disposition"] for one in rejects} == {"clock_ahead"}
    name = rejects[0]["name"]
    shown = command.run(folder, "rejects", "show", name, *SPAN)
    assert shown.code == 0, shown.err
    assert "clock_ahead: the device's clock is ahead" in shown.out
    assert '"boot":"boot-one"' in shown.out
    table = command.run(folder, "rejects", "list", *SPAN, "--last", "3")
    assert name.split("#")[0].split(":")[0] in table.out

    fix = ("--reason", "clock_ahead", "--clock", "-600")
    dry = command.run(folder, "rejects", "redrive", *SPAN, *fix, "--dry-run", "--json")
    assert dry.json["would_redrive"] + dry.json["repeated"] == listed.json["found"]
    none = command.run(folder, "rejects", "redrive", *SPAN, "--reason", "clock_ahead", "--json")
    assert none.json["refused"] == {
        "with this fix it would be clock_ahead again": listed.json["found"]
    }

    tiers = json.dumps([{"name": "1m", "flush_s": 0.1, "ttl_s": 604_800}])
    for variable, value in (
        ("PENSTOCK_SEGMENT_AGE_S", "0.1"), ("PENSTOCK_LATEST_FLUSH_S", "0.1"),
        ("PENSTOCK_TIERS", tiers),
    ):  # fmt: skip
        monkeypatch.setitem(command.extra, variable, value)
    sent = command.run(folder, "rejects", "redrive", *SPAN, *fix)  # no worker runs
    assert sent.code == 1
    assert "is a worker running?" in sent.err
    shards = read_stream(archive.client("kinesis"), archive.settings.stream)
    assert sum(map(len, shards.values())) == dry.json["would_redrive"]


def test_a_reject_that_is_not_there_and_a_wrong_fix_are_one_sentence(folder: Path) -> None:
    missing = command.run(folder, "rejects", "show", "shard-0:1.0", *SPAN)
    assert missing.code == 1
    assert "`penstock rejects list` has the names" in missing.err
    for option in (("--rename", "x"), ("--scale", "x=y"), ("--reason", "odd")):
        assert command.run(folder, "rejects", "redrive", *option).code == 2
