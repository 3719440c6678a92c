"""What a person does is in the log of acts before it is done, and how it ended is after."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from infra import commands
from infra.commands import write_target
from infra.console import UserError
from ingest.acts.log import ActLog
from ingest.settings import Settings
from tests.harness.act_bucket import ActBucket
from tests.harness.dashboard import NOW
from tests.harness.tenants import Thing, World, serving

WORLD = World(tuple(Thing(f"{one}-1", one, NOW, 1.0, 1, "open", NOW, 0) for one in ("red", "blue")))
DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "PutObject")


def begun(bucket: ActBucket) -> tuple[ActLog, str]:
    log = ActLog(bucket, "bucket", lambda: NOW)
    return log, log.begin("mute hot", by="kim", verified="arn", via="dashboard", details={"a": "b"})


def test_an_act_is_recorded_before_it_is_done_and_its_end_after() -> None:
    bucket = ActBucket()
    log, key = begun(bucket)
    with log.ending(key):
        assert bucket.told == [("mute hot by kim", "open")]
    assert bucket.told == [("mute hot by kim", "done")]
    at = "2026-11-23T08:00:00.000Z"
    assert list(bucket.objects.values()) == [
        {"at": at, "by": "kim", "verified": "arn", "via": "dashboard", "what": "mute hot",
         "details": {"a": "b"}},
        {"at": at, "done": True},
    ]  # fmt: skip
    assert key.startswith("acts/v1/dt=2026-11-23/080000.000-")


def test_one_that_fails_is_recorded_with_why_and_goes_on() -> None:
    bucket = ActBucket()
    log, key = begun(bucket)
    with pytest.raises(KeyError), log.ending(key):
        raise KeyError("pump")
    assert bucket.objects[f"{key}.failed.json"]["why"] == "KeyError: 'pump'"


def test_an_outcome_that_cannot_be_recorded_is_said_and_does_not_undo_the_act(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bucket = ActBucket()
    bucket.fail["done.json"] = OSError("gone")
    log, key = begun(bucket)
    with log.ending(key):
        pass
    assert "is not recorded: gone" in caplog.text
    assert bucket.told == [("mute hot by kim", "open")]


def act(client: Any, token: str, device: str = "red-1", rule: str = "hot") -> Any:
    return client.post(
        "/api/v1/alerts/acknowledge", json={"device": device, "rule": rule, "by": "root"},
        headers={"Authorization": f"Bearer {token}"},
    )  # fmt: skip


def test_every_act_on_the_dashboard_is_in_the_log_under_the_principal_s_name() -> None:
    with serving(WORLD) as (client, tables):
        assert act(client, "red-operator").status_code == 200
        assert act(client, "red-operator").status_code == 409
        assert act(client, "everything", "blue-1").status_code == 200
        assert tables.acts.told == [
            ("acknowledged hot on red-1 by red@example", "done"),
            ("acknowledged hot on red-1 by red@example", "failed"),
            ("acknowledged hot on blue-1 by root", "done"),
        ]
        verified = [one["verified"] for one in tables.acts.objects.values() if "what" in one]
        assert verified[0] == "red@example, operator"


def test_what_a_role_may_not_do_or_does_not_exist_is_no_act() -> None:
    with serving(WORLD) as (client, tables):
        assert act(client, "red-viewer").status_code == 403
        assert act(client, "red-operator", "blue-1").status_code == 404
        assert tables.acts.objects == {}


def test_nothing_is_done_that_cannot_be_recorded() -> None:
    with serving(WORLD) as (client, tables):
        before = dict(tables.alerts.items["red-1"])
        tables.acts.fail[".json"] = DENIED
        assert act(client, "red-operator").status_code == 403
        tables.acts.fail[".json"] = OSError("no route")
        assert act(client, "red-operator").status_code == 502
        assert tables.alerts.items["red-1"] == before


# -- on the command line ------------------------------------------------------------------------


@dataclass
class Deployment:
    """A target with a log of acts in memory."""

    bucket: ActBucket = field(default_factory=ActBucket)
    settings: Settings = field(default_factory=lambda: Settings(stack="plant", region="eu-west-1"))
    account: str = "123456789012"
    local: bool = True

    def client(self, service: str, role: str) -> ActBucket:
        assert (service, role) == ("s3", "operator")
        return self.bucket


def run(monkeypatch: pytest.MonkeyPatch, body: Callable[[], None]) -> tuple[Deployment, Any]:
    """A command that does what an operator does."""
    there = Deployment()
    monkeypatch.setattr(write_target, "find_write_target", lambda *_, **__: there)

    @click.command("revoke")
    @click.argument("names", nargs=-1)
    @click.option("--aws", is_flag=True)
    @click.option("--days")
    def revoke(names: tuple[str, ...], aws: bool, days: str | None) -> None:
        write_target.find_operator_target("revoke two", aws=aws)
        body()

    return there, CliRunner().invoke(revoke, ["pump-1", "pump-2"])


def test_a_command_s_act_is_recorded_with_its_parameters_and_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, result = run(monkeypatch, lambda: None)
    assert result.exit_code == 0
    assert there.bucket.told == [(f"revoke two by {getpass.getuser()}", "done")]
    (act, _) = there.bucket.objects.values()
    assert act["details"] == {"names": "pump-1 pump-2"}
    assert (act["verified"], act["via"]) == ("local stack", "command line")


def test_a_command_that_fails_is_recorded_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise UserError("there is no pump-1")

    there, result = run(monkeypatch, fail)
    assert result.exit_code != 0
    (_, outcome) = there.bucket.objects.values()
    assert (outcome["done"], outcome["why"]) == (False, "UserError: there is no pump-1")


def test_a_command_does_nothing_that_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(ActBucket, "put_object", refuse)
    _, result = run(monkeypatch, lambda: done.append(1))
    assert "nothing was changed" in str(result.exception)
    assert not done


def refuse(*_: Any, **__: Any) -> None:
    raise DENIED


NOT_ACTS = {"device_list", "items", "devices", "windows", "simulate", "dashboard"}
"""Commands that name the operator's role and change nothing, or nothing by a person."""


def test_every_command_that_works_as_the_operator_and_writes_records_it() -> None:
    for file in Path(str(commands.__path__[0])).glob("*.py"):
        text = file.read_text()
        if '"operator"' in text and file.stem not in NOT_ACTS:
            assert "find_operator_target(" in text, file.name
            assert "find_write_target(" not in text, file.name
