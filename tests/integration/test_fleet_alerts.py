"""Silence is found by a real worker with its role's rights; what it reads is on the meters."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.alerts.rule_file import parse_rules
from consumers.alerts.transition import RuleState
from consumers.fleet.shards import Shards
from infra.alarms import alarms_of, apply_rules
from infra.aws.stacks.run_stack import deploy_for_run, roles_in
from infra.emulator.process import Emulator
from infra.emulator.usage import read_usage
from infra.target import Target
from infra.worker.alerting import fleet_duty
from ingest.record import encode_record
from tests.harness.processes import await_value
from tests.harness.shard import payload
from tests.integration.conftest import target_of
from tests.integration.roles_at_work import prepare, working

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleet_alerts")]

LIMIT_S = 60
DEVICES = 3_000
RULES = """
[[rule]]
name = "gone"
silent = "1m"

[[rule]]
name = "hall-warm"
tier = "10s"
per = "group"
when = "mean(temperature) > 25"
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fleet-alerts")
    emulator = Emulator.start(folder / "emulator", persist=False)
    target = target_of(emulator, alerts=True)
    target.roles |= roles_in(deploy_for_run(target, 2, interval=0.05))
    apply_rules(target, [rule for _, _, rule in parse_rules(RULES)], 0)
    yield target
    emulator.stop()


def send(target: Target, device: str, temperature: float, seq: int = 0) -> int:
    """A reading of a device, now; its time (ms)."""
    now = time.time_ns() // 1_000_000
    target.client("kinesis").put_record(
        StreamName=target.settings.stream,
        PartitionKey=device,
        Data=encode_record(
            payload("boot-one", seq, [(now, {"temperature": temperature})]), device, now
        ),
    )
    return now


def state(target: Target, device: str, rule: str, *, is_raised: bool) -> RuleState | None:
    """The alarm of a device, if it is as wanted."""
    found = alarms_of(target, device).states.get(rule)
    return found if found is not None and found.is_raised is is_raised else None


def test_a_silence_is_found_in_a_minute_though_the_worker_restarted_and_no_record_came(
    target: Target, tmp_path: Path
) -> None:
    for number, device in enumerate(("pump-1", "pump-2")):  # without a group, and in one
        group = "hall" if number else ""
        item = {"device": {"S": device}, "ver": {"N": "1"}, "group": {"S": group}}
        target.client("dynamodb").put_item(TableName=target.settings.devices_table, Item=item)
    prepare(target)
    with working(target, tmp_path / "first", "polling"):
        heard = send(target, "pump-1", 20.0)
        send(target, "pump-2", 30.0)
        await_value(lambda: seen(target, "pump-1"), 60, "the roster's last_seen")
        await_value(lambda: seen(target, "pump-2"), 60, "the roster's last_seen")
    with working(target, tmp_path / "second", "polling"):
        at_work = time.time_ns() // 1_000_000
        raised = await_value(
            lambda: state(target, "pump-1", "gone", is_raised=True), 240, "the silence"
        )
        found = time.time_ns() // 1_000_000
        assert found <= max(heard + LIMIT_S * 1000, at_work) + 60_000
        assert heard + LIMIT_S * 1000 <= raised.as_of <= found
        await_value(
            lambda: state(target, "#group/hall", "hall-warm", is_raised=True), 60, "the group's"
        )
        send(target, "pump-1", 21.0, seq=1)
        cleared = await_value(
            lambda: state(target, "pump-1", "gone", is_raised=False), 60, "the end of the silence"
        )
    assert [entry.kind for entry in cleared.log] == ["raised", "cleared"]


def seen(target: Target, device: str) -> bool:
    """Whether the roster knows that a device was heard."""
    item = target.client("dynamodb").get_item(
        TableName=target.settings.devices_table, Key={"device": {"S": device}}
    )
    return "last_seen" in item.get("Item", {})


def test_a_scan_of_the_roster_costs_three_read_units_a_hundred_devices(target: Target) -> None:
    """As decided on: 100,000 devices, a scan in five minutes, 0.8 million read units a day."""
    dynamodb, table = target.client("dynamodb"), target.settings.devices_table
    chance, now = random.Random(1), time.time_ns() // 1_000_000
    names = [f"meter-{number}" for number in range(DEVICES)]
    for start in range(0, DEVICES, 25):
        puts = [
            {
                "PutRequest": {
                    "Item": {
                        "device": {"S": name},
                        "ver": {"N": "7"},
                        "type": {"S": "pump"},
                        "registered_at": {"N": str(now)},
                        "boot": {"S": f"{chance.getrandbits(64):016x}"},
                        "seq": {"N": str(chance.randrange(10**6))},
                        "last_seen": {"N": str(now)},
                        "last_ts": {"N": str(now)},
                        "metrics": {
                            "M": {
                                metric: {"M": {"v": {"N": "21.5"}, "ts": {"N": str(now)}}}
                                for metric in ("temperature", "pressure", "power")
                            }
                        },
                    }
                }
            }
            for name in names[start : start + 25]
        ]
        dynamodb.batch_write_item(RequestItems={table: puts})
    duty = fleet_duty(target, "worker", Shards(settle_ms=5_000))
    endpoint = str(target.settings.endpoint_url)

    def units() -> float:
        before = read_usage(endpoint)
        duty.round()
        return read_usage(endpoint).since(before).tables[table].read_units

    assert 0.02 * DEVICES < units() <= 0.03 * DEVICES
    assert units() <= 1  # the next scan is not due, and nobody is silent
