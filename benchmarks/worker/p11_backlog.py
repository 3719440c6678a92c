"""P11: how fast one shard drains its backlog when calls take as long as on AWS.

10,000 devices with a message every 10 s, 120 s behind: 120,000 records, at the defaults. The whole
child but its pipes: protocol lines, fold, the real clients of DynamoDB and S3 with their
signatures, Parquet, checkpoints. The stores are a stub in another process that takes its time:
DynamoDB 10 ms at the median and 40 ms at the 99th percentile, or 20 ms always; S3 60 and 200 ms.
The baseline is the same with one call in flight and with every tier written every second, as in
version 0.2.
"""

from __future__ import annotations

import time
from typing import Any, Final

import botocore.session
from botocore.config import Config

from benchmarks.measure import Progress, Result, Samples, floor, result
from benchmarks.workloads import ours
from benchmarks.workloads.stub import Latency, Stub
from benchmarks.workloads.traffic import lines
from consumers.archive.s3 import S3Store
from consumers.aws.in_flight import Calls, InFlight, OneAtATime
from consumers.hot.dynamodb import DynamoStore
from consumers.kcl.protocol import parse
from consumers.shard.child import CALLS_IN_FLIGHT
from ingest.freshness import Freshness

DEVICES: Final = 10_000
BEHIND_S: Final = 120
RECORDS_A_SECOND: Final = 1_000
BASELINE_RECORDS: Final = 20_000
RUNS: Final = 3
LATENCIES: Final = {
    "10 ms, p99 40 ms": Latency(10, 40, 60, 200),
    "20 ms": Latency(20, 20, 60, 200),
}


def run(progress: Progress) -> Result:
    """Drain the same backlog both ways at both latencies."""
    backlog = list(lines(DEVICES, BEHIND_S * RECORDS_A_SECOND // DEVICES, 1))
    checks = []
    for name, latency in LATENCIES.items():
        rates: dict[str, list[float]] = {"ours": [], "baseline": []}
        with Stub(latency) as endpoint:
            for turn in range(RUNS):
                progress(f"a call takes {name}: run {turn + 1} of {RUNS} …")
                rates["ours"].append(
                    drained(backlog, endpoint, InFlight(CALLS_IN_FLIGHT), "standard", behind=True)
                )
                some = backlog[: BASELINE_RECORDS // 500]
                rates["baseline"].append(
                    drained(some, endpoint, OneAtATime(), "live", behind=False)
                )
        checks.append(
            floor(
                f"messages a second that a shard drains, a call takes {name}",
                Samples(rates["ours"]), Samples(rates["baseline"]), unit="/s", at_least=5_000,
            )
        )  # fmt: skip
    return result("backlog of one shard", checks)


def drained(
    backlog: list[bytes], endpoint: str, calls: Calls, freshness: Freshness, *, behind: bool
) -> float:
    """Messages a second until all are durable. ``behind``: whether the KCL reports the backlog."""
    session = botocore.session.get_session()
    session.set_credentials("x", "x")
    config = Config(
        retries={"total_max_attempts": 1}, max_pool_connections=16, s3={"addressing_style": "path"}
    )

    def client(service: str) -> Any:
        return session.create_client(service, "eu-west-1", endpoint_url=endpoint, config=config)

    processor = ours.processor(
        time.monotonic,
        S3Store(client("s3"), "bucket"),
        hot=ours.hot_store(DynamoStore(client("dynamodb")), freshness, calls),
    )
    started, done = time.monotonic(), 0
    for line in backlog:
        records = parse(line).records
        left = len(backlog) * 500 - done
        processor.behind_ms = left * 1000 // RECORDS_A_SECOND if behind else 0
        processor.process(records)
        done += len(records)
    processor.commit()
    return done / (time.monotonic() - started)
