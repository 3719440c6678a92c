"""What a device sent is not lost: on a stack with its worker, where durable readings are
acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from consumers.ids import IdSet
from devices.acknowledgements import hear
from devices.batch import BatchLimits, Outgoing
from devices.client import TelemetryClient
from devices.identity import load
from simulator.observe import ArchiveRow, Clients, observe
from tests.harness import command
from tests.harness.processes import await_value, children_of, daemon_of
from tests.integration.test_commands import Up, windows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lose-nothing")]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    command.extra["PENSTOCK_ACKNOWLEDGE"] = "true"
    try:
        running = Up(tmp_path_factory.mktemp("lose-nothing"))
    finally:
        del command.extra["PENSTOCK_ACKNOWLEDGE"]
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
        assert ran.json["unacknowledged"] == 0
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


def durable(up: Up, device: str) -> Ids:
    """The ids of a device that are in the windows and in the archive."""
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
    return hot & rows


class Keeper:
    """A device that keeps what it sent until it is acknowledged as durable."""

    def __init__(self, up: Up, device: str) -> None:
        self.up, self.device = up, device
        self.client = TelemetryClient(
            load(up.folder / up.root().settings.devices_dir, device), limits=BatchLimits(5)
        )
        self.kept: list[Outgoing] = []
        self.acknowledged: Ids = set()
        self.early: Ids = set()
        self._acks: asyncio.Queue[Ids] = asyncio.Queue()
        hear(self.client.connection, device, self._on_durable)

    def _on_durable(self, boot: str, ranges: Sequence[range]) -> None:
        self._acks.put_nowait({(boot, seq) for one in ranges for seq in one})

    async def send(self, readings: int) -> None:
        for number in range(readings):
            at = time.time_ns() // 1_000_000
            for message in self.client.batcher.add(at, {"a": float(number)}):
                self.kept.append(message)
                await self.client.send(message)

    async def until_nothing_is_kept(self) -> int:
        """Wait for acknowledgements; what gets none in time is sent again. How many were."""
        again = 0
        while self.kept:
            try:
                ids = await asyncio.wait_for(self._acks.get(), 12)
            except TimeoutError:
                for message in self.kept:
                    await self.client.send(message)
                again += len(self.kept)
                continue
            self.early |= ids - await asyncio.to_thread(durable, self.up, self.device)
            self.acknowledged |= ids
            self.kept = [message for message in self.kept if not self._is_acknowledged(message)]
        return again

    def _is_acknowledged(self, message: Outgoing) -> bool:
        numbers = range(message.seq, message.seq + message.readings)
        return {(message.boot, seq) for seq in numbers} <= self.acknowledged


def test_a_device_is_told_what_is_in_both_stores_also_after_its_worker_was_killed(up: Up) -> None:
    assert up.penstock("device", "create", "keeper-1").code == 0

    async def scenario() -> Keeper:
        keeper = Keeper(up, "keeper-1")
        async with keeper.client:
            await keeper.send(20)
            await keeper.until_nothing_is_kept()
            await keeper.send(20)
            for pid in [*children_of(up.process.pid), daemon_of(up.process.pid)]:
                os.kill(pid or 0, signal.SIGKILL)
            await keeper.send(10)
            await keeper.until_nothing_is_kept()
        return keeper

    keeper = asyncio.run(asyncio.wait_for(scenario(), 150))
    assert keeper.acknowledged == {(keeper.client.batcher.boot, seq) for seq in range(50)}
    assert keeper.acknowledged == durable(up, "keeper-1")
    assert keeper.early == set()
    assert windows(up, "keeper-1", "1h", 50)["n"] == 50
    status = up.penstock("status", "--json").json
    assert "acknowledgements" in str(status)


def _waiting(sqs: Any, url: str) -> int:
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])[
        "Attributes"
    ]
    return int(answer["ApproximateNumberOfMessages"])
