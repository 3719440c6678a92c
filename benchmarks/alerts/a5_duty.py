"""A5: what the worker that decides silence and groups keeps in memory of 100,000 devices, and how
long it takes to begin.

The duty as a worker has it, in a process of its own, over a client of DynamoDB that makes the
answers as ``boto3`` does: two rules of silence and one of groups of 1,000 devices. It begins with a
scan of the roster, goes on with scans, and looks at all devices when they fall silent together.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any

from benchmarks.measure import Progress, Result, Samples, limit, result
from benchmarks.worker.p8_shard import resident_mb
from consumers.alerts.rule_file import parse_rules
from consumers.alerts.rules import RuleSet
from consumers.alerts.store import rules_item
from consumers.aws.in_flight import OneAtATime
from consumers.fleet.duty import FleetDuty
from consumers.fleet.shards import Shards
from consumers.fleet.tables import DynamoTables
from consumers.hot.optimistic import Outcome, Statement
from consumers.kcl.leases import Lease
from ingest.tiers import DEFAULT_TIERS

DEVICES = 100_000
RUNS = 3
TARGET_MB = 100.0
TARGET_S = 60.0
NOW = 1_795_420_800
ROUNDS = 700
"""Seconds for which the duty goes on: two scans."""
RULES = """
[[rule]]
name = "gone"
silent = "10m"

[[rule]]
name = "pumps-gone"
silent = "5m"
devices = "*-pump-*7"

[[rule]]
name = "hall-hot"
per = "group"
when = "mean(temperature) > 30"
"""


class Roster:
    """A client of DynamoDB whose roster has so many devices, each heard at ``heard``; the time of
    its answers is ``now`` (s)."""

    def __init__(self, devices: int) -> None:
        self.devices = devices
        self.now = self.heard = NOW
        rules = [rule for _, _, rule in parse_rules(RULES)]
        self._rules = rules_item(RuleSet(1, rules))

    def get_item(self, **_: Any) -> Any:
        """The rules."""
        return {"Item": self._rules}

    def scan(self, TableName: str, **request: Any) -> Any:
        """A page of the roster, or the workers' reports."""
        if TableName == "status":
            return {"Items": []}
        start = int(request.get("ExclusiveStartKey", {}).get("n", 0))
        end = min(start + request["Limit"], self.devices)
        more = {"LastEvaluatedKey": {"n": end}} if end < self.devices else {}
        return self._answer(map(self._item, range(start, end)), more)

    def batch_get_item(self, RequestItems: Any) -> Any:
        """Devices of the roster."""
        keys = RequestItems["devices"]["Keys"]
        items = [self._item(int(one["device"]["S"][-6:])) for one in keys]
        return {**self._answer((), {}), "Responses": {"devices": items}, "UnprocessedKeys": {}}

    def query(self, **_: Any) -> Any:
        """No window and no alarm."""
        return {"Items": []}

    def _answer(self, items: Any, more: Mapping[str, Any]) -> Any:
        headers = {"date": formatdate(self.now, usegmt=True)}
        return {"Items": list(items), "ResponseMetadata": {"HTTPHeaders": headers}, **more}

    def _item(self, number: int) -> dict[str, Any]:
        heard = str(self.heard * 1000 + number % 1000)
        return {
            "device": {"S": f"plant-1-pump-{number:06d}"},
            "group": {"S": f"hall-{number // 1000}"},
            "type": {"S": "pump"},
            "last_seen": {"N": heard},
            "last_ts": {"N": heard},
        }


class Taken:
    """A store in which nothing is, and that takes everything."""

    def __init__(self) -> None:
        self.written = 0

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        """Take all."""
        self.written += len(statements)
        return [Outcome.WRITTEN] * len(statements)

    def read(self, *_: Any) -> Any:
        """Find nothing."""
        return {}, ()


def main(devices: int) -> dict[str, float]:
    """Let the duty begin and go on; MB and seconds."""
    client, store, shards = Roster(devices), Taken(), Shards(settle_ms=0)
    shards.saw([Lease("shard-0", "worker", 0, "TRIM_HORIZON")])
    clock = 0.0
    duty = FleetDuty(
        tables=DynamoTables(
            client, alerts="alerts", devices="devices", windows="windows", status="status",
            finest=DEFAULT_TIERS[0],
        ),
        store=store, alerts_table="alerts", tiers=DEFAULT_TIERS, latest_flush_s=600.0,
        shards=shards, calls=OneAtATime(), clock=lambda: clock,
    )  # fmt: skip

    def rounds(count: int) -> None:
        nonlocal clock
        for _ in range(count):
            shards.heard([{"updated_at": client.now * 1000,
                           "shards": [{"shard": "shard-0", "lag_ms": 0}]}])  # fmt: skip
            duty.round()
            clock += 1.0
            client.now += 1

    before, began = resident_mb(), time.process_time()
    starting = 0
    while duty.is_first_scan:
        rounds(1)
        starting += 1
    started_cpu, started = time.process_time() - began, resident_mb() - before
    for _ in range(ROUNDS):
        client.heard = client.now
        rounds(1)
    going = resident_mb() - before
    went = time.process_time()
    rounds(700)  # nobody is heard any more
    return {
        "mb_begun": started, "mb": going, "mb_silent": resident_mb() - before,
        "start_s": float(starting), "start_cpu_s": started_cpu,
        "silent_cpu_s": time.process_time() - went,
    }  # fmt: skip


def run(progress: Progress) -> Result:
    """Measure in processes of their own."""
    runs = []
    for number in range(RUNS):
        progress(f"{DEVICES:,} devices, process {number + 1} of {RUNS}")
        runs.append(_in_process(DEVICES))

    def of(name: str) -> Samples:
        return Samples([one[name] for one in runs])

    return result(
        f"memory of the duty for silence and groups, {DEVICES:,} devices",
        [
            limit("MB while all report", of("mb"), unit="MB", at_most=TARGET_MB),
            limit("MB when all are silent", of("mb_silent"), unit="MB", at_most=TARGET_MB),
            limit("rounds of a second until all are known", of("start_s"), unit="s",
                  at_most=TARGET_S),
        ],
        bytes_a_device=round(of("mb").median * 1024 * 1024 / DEVICES),
        runs_in_full=runs,
    )  # fmt: skip


def quick(_: Progress) -> Result:
    """The same with a tenth of the devices, once."""
    one = _in_process(DEVICES // 10)
    return result(
        "memory of the duty for silence and groups",
        [limit("MB while all report", Samples([one["mb"]]), unit="MB", at_most=TARGET_MB)],
        runs_in_full=[one],
    )


def _in_process(devices: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.alerts.a5_duty", str(devices)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
