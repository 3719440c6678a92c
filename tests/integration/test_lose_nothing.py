"""What a device sent is not lost: on a stack with its worker, where durable readings are
acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.batch import BatchLimits
from devices.identity import load
from devices.mqtt.acknowledgements import subscribe_acknowledgements
from devices.mqtt.client_factory import TelemetryClientFactory
from devices.spool.client import SpooledClient
from devices.spool.spool import Spool
from ingest.id_ranges import IdSet
from simulator.verification.observe import ArchiveRow, Clients, observe
from tests.harness import command
from tests.harness.processes import await_value, children_of, daemon_of
from tests.integration.conftest import eventually
from tests.integration.test_commands import Up, windows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lose-nothing")]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    command.extra["PENSTOCK_ACKNOWLEDGE"] = "true"
    command.extra["PENSTOCK_REDRIVE_S"] = "0"  # it is done by hand here
    try:
        running = Up(tmp_path_factory.mktemp("lose-nothing"))
    finally:
        del command.extra["PENSTOCK_ACKNOWLEDGE"], command.extra["PENSTOCK_REDRIVE_S"]
    yield running
    running.process.kill()
    running.process.wait()


def archived(up: Up, device: str, readings: int) -> list[ArchiveRow]:
    """The archive's rows of a device, once there are so many."""
    target = up.root()
    clients = Clients(target.client("dynamodb"), target.client("s3"))

    def rows() -> list[ArchiveRow] | None:
        found = observe(clients, target.settings, target.account, [device]).rows
        mine = [row for row in found if row.device_id == device]
        return mine if len(mine) >= readings else None

    return await_value(rows, 60, f"{readings} rows of {device}")


def test_what_the_rule_could_not_put_into_the_stream_arrives_after_a_redrive(up: Up) -> None:
    target = up.root()
    iot, sqs, rule = target.client("iot"), target.client("sqs"), target.settings.rule
    url = sqs.get_queue_url(QueueName=target.settings.error_queue)["QueueUrl"]
    assert up.penstock("device", "create", "redriven-1").code == 0
    payload = iot.get_topic_rule(ruleName=rule)["rule"]
    kept = {k: payload[k] for k in ("sql", "actions", "errorAction", "awsIotSqlVersion")}
    (action,) = kept["actions"]
    broken = {"kinesis": {**action["kinesis"], "streamName": "nowhere"}}
    iot.replace_topic_rule(ruleName=rule, topicRulePayload={**kept, "actions": [broken]})
    try:
        lines = "".join(f'{{"temperature": {20 + i}}}\n' for i in range(3))
        ran = up.penstock("device", "run", "redriven-1", "--batch", "1", "--json", stdin=lines)
        assert ran.json["waiting"] == 0
        await_value(lambda: _waiting(sqs, url) == 3 or None, 20, "the rule's errors")
    finally:
        iot.replace_topic_rule(ruleName=rule, topicRulePayload=kept)
    sqs.send_message(QueueUrl=url, MessageBody="nobody's")

    done = up.penstock("rejects", "redrive-rule-errors", "--json")

    assert done.out, done.err
    assert (done.code, done.json["redriven"], len(done.json["left"])) == (1, 3, 1)
    assert "are no telemetry" in done.err
    assert windows(up, "redriven-1", "1h", 3)["metrics"]["temperature"]["sum"] == 63
    rows = archived(up, "redriven-1", 3)
    assert sorted(row.seq or 0 for row in rows) == [0, 1, 2]
    assert {row.disposition for row in rows} == {"ok"}
    now = time.time_ns() // 1_000_000
    assert all(now - 60_000 < (row.received_at or 0) <= now for row in rows)
    assert _waiting(sqs, url) == 1
    sqs.purge_queue(QueueUrl=url)
    assert up.penstock("rejects", "redrive-rule-errors").code == 0


def test_a_device_is_configured_while_it_is_away_and_while_it_runs(up: Up) -> None:
    assert up.penstock("device", "create", "remote-1").code == 0
    away = up.penstock("device", "configure", "remote-1", "--batch", "2", "--wait", "0")
    assert (away.code, "has not reported yet" in away.err) == (0, True)
    lines = "".join(f'{{"a": {i}}}\n' for i in range(4))
    ran = up.penstock("device", "run", "remote-1", "--interval", "0.5", stdin=lines)
    assert ran.code == 0, ran.err
    shown = up.penstock("device", "configure", "remote-1", "--json").json
    assert shown["desired"] == {"batch": 2}
    assert shown["reported"] == {"interval_s": 0.5, "batch": 2, "age_s": 1.0, "rejected": []}
    assert "0.5" in up.penstock("device", "configure", "remote-1").out
    wrong = up.penstock("device", "configure", "no/name")
    assert (wrong.code, "is not a device name" in wrong.err) == (1, True)


Ids = set[tuple[str, int]]


def observed_ids(up: Up, device: str) -> Ids:
    """The ids of a device that are in the windows."""
    return _observed(up, device)[0]


def durable(up: Up, device: str) -> Ids:
    """The ids of a device that are in the windows and in the archive."""
    hot, rows = _observed(up, device)
    return hot & rows


def _observed(up: Up, device: str) -> tuple[Ids, Ids]:
    target = up.root()
    clients = Clients(target.client("dynamodb"), target.client("s3"))
    found = observe(clients, target.settings, target.account, [device])
    rows = {(row.boot or "", row.seq or 0) for row in found.rows if row.device_id == device}
    hot: Ids = set()
    for (_, window), item in found.windows.items():
        if window.startswith("1h#"):
            for boot, text in item["ids"]["M"].items():
                bounds = IdSet.load({boot: text["S"]}).bounds[boot]
                for start, end in zip(bounds[0::2], bounds[1::2], strict=True):
                    hot |= {(boot, seq) for seq in range(start, end)}
    return hot, rows


def test_a_device_is_told_what_is_in_both_stores_also_after_its_worker_was_killed(
    up: Up, tmp_path: Path
) -> None:
    """Its spool keeps what is not told of and sends it again: acknowledgements that die with the
    worker come with the next one."""
    assert up.penstock("device", "create", "keeper-1").code == 0
    identity = load(up.folder / up.root().settings.devices_dir, "keeper-1")
    told: list[tuple[Ids, Ids]] = []  # what was acknowledged, and of that what was not durable

    async def scenario(spool: Spool) -> str:
        factory = TelemetryClientFactory()
        client = SpooledClient(
            identity, spool, limits=BatchLimits(5, age_s=0.1), durable=True, durable_s=10,
            client=factory, content="cbor",
        )  # fmt: skip

        def is_durable(boot: str, ranges: Iterable[tuple[int, int]]) -> None:
            spans = list(ranges)
            ids = {(boot, seq) for first, last in spans for seq in range(first, last + 1)}
            told.append((ids, ids - durable(up, "keeper-1")))
            client.on_durable(boot, spans)

        factory.add_setup(
            lambda connection: subscribe_acknowledgements(connection, identity.config, is_durable)
        )

        def take(readings: int) -> None:
            for number in range(readings):
                client.add(time.time_ns() // 1_000_000, {"a": float(number)})

        async with client:
            take(20)
            await client.drained()
            take(20)
            await asyncio.to_thread(eventually, lambda: len(observed_ids(up, "keeper-1")) >= 40)
            for pid in [*children_of(up.process.pid), daemon_of(up.process.pid)]:
                os.kill(pid or 0, signal.SIGKILL)
            take(10)
            await client.drained()
        return spool.boot

    with Spool(tmp_path, now=lambda: time.time_ns() // 1_000_000) as spool:
        boot = asyncio.run(asyncio.wait_for(scenario(spool), 150))
        assert len(spool) == 0
    every = {(boot, seq) for seq in range(50)}
    assert set().union(*(ids for ids, _ in told)) == every == durable(up, "keeper-1")
    assert [early for _, early in told if early] == []
    assert windows(up, "keeper-1", "1h", 50)["n"] == 50
    status = up.penstock("status", "--json").json
    assert "acknowledgements" in str(status)


def _waiting(sqs: Any, url: str) -> int:
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])[
        "Attributes"
    ]
    return int(answer["ApproximateNumberOfMessages"])
