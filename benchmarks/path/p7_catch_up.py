"""P7: a whole worker, KCL daemon and children, that catches up with a full stream.

400,000 readings wait in 4 shards. The clock runs from the moment that all children are there until
every shard is checkpointed at its last record, which for ours means that each reading is durable in
both stores. The stock application (:mod:`benchmarks.baselines.stock_app`) does the same writes in
the same run, from a lease table and window keys of its own.

What one read takes, the heap and the leases are the defaults. Windows, device states and segments
wait one or two seconds at most: a worker that catches up writes by volume, and the rest at the end
shall not wait for the clock, as an hour's window does at the defaults (ten minutes).
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.measure import Progress, Result, Samples, check, result
from benchmarks.path.p4_full_path import children_cpu_s, children_of, process_cpu_s, tree_cpu_s
from benchmarks.workloads.stand import deployed
from benchmarks.workloads.traffic import lines
from consumers.kcl import daemon
from consumers.kcl.capacity import capacity
from consumers.kcl.first_leases import prepare_leases
from consumers.memory import memory_mb
from consumers.worker.launch import daemon_environment
from consumers.worker.spawn import spawn, stop
from consumers.worker.supervisor import Worker
from infra.emulator.profile import WITHOUT_SHARD_RATES
from infra.target import LOCAL_KEYS
from ingest.settings import Settings
from ingest.stream import Record, put_all
from ingest.tiers import DEFAULT_TIERS

SHARDS: Final = 4
DEVICES: Final = 500
MESSAGES: Final = 40
READINGS: Final = 20
TOTAL: Final = DEVICES * MESSAGES * READINGS
RUNS: Final = 5
PATIENCE_S: Final = 180.0


def run(progress: Progress) -> Result:
    """Both workers in turn, each time from the stream's beginning."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, ExitStack() as stack:
        bench = _Bench(Path(folder), stack, progress)
        ours, stock, shares = [], [], []
        for number in range(RUNS):
            progress(f"ours, run {number + 1} of {RUNS} …")
            seconds, share = bench.ours(number)
            ours.append(seconds)
            shares.append(share)
            progress(f"stock, run {number + 1} of {RUNS} …")
            stock.append(bench.stock(number))
    cpu = {name: round(Samples([s[name] for s in shares]).median, 2) for name in shares[0]}
    return result(
        f"a worker catching up {TOTAL:,} readings, {SHARDS} shards",
        [
            check(
                "readings a second, against a stock KCL application", Samples(ours), Samples(stock),
                unit="/s", at_least=2, scale=lambda seconds: TOTAL / seconds,
            )
        ],
        cpu_s=cpu,
        points=[{"part": name, "cpu_s": seconds} for name, seconds in cpu.items()],
    )  # fmt: skip


class _Bench:
    """A full stream, and workers on it."""

    def __init__(self, folder: Path, stack: ExitStack, progress: Progress) -> None:
        self._folder = folder
        self._target, self._emulator = stack.enter_context(
            deployed(
                folder,
                SHARDS,
                tiers=tuple(replace(tier, flush_s=1.0) for tier in DEFAULT_TIERS),
                latest_flush_s=1.0,
                segment_age_s=2.0,
                shutdown_grace_s=1,
                failover_ms=10_000,  # the emulator is busy
            )
        )
        self._emulator.become(WITHOUT_SHARD_RATES)  # the worker is measured, not the shards
        self._settings = self._target.settings
        self._kinesis, self._dynamodb = (self._target.client(s) for s in ("kinesis", "dynamodb"))
        progress(f"loading {TOTAL:,} readings …")
        put_all(
            self._kinesis,
            self._settings.stream,
            (Record(data, device) for device, data in records(DEVICES, MESSAGES, READINGS)),
        )
        self._ends = dict(self._last_numbers())
        keys = {name.upper(): value for name, value in LOCAL_KEYS.items()}
        self._environment = daemon_environment(self._settings, keys)

    def ours(self, number: int) -> tuple[float, dict[str, float]]:
        """Seconds, and CPU seconds of daemon, children and emulator."""
        self._empty()
        settings = self._leases(f"ours-{number}")
        folder = self._folder / f"ours-{number}"
        folder.mkdir()
        with (folder / "worker.log").open("ab") as log, Worker(
            settings, self._target.account, directory=folder, environment=self._environment,
            output=log, release=lambda _: None,
        ) as worker:  # fmt: skip
            emulator = tree_cpu_s(self._emulator.pid)
            seconds = self._follow(settings, lambda: children_of(worker.pid), lambda: True)
            daemon_s = process_cpu_s(worker.pid)
            children = children_cpu_s(worker)
            return seconds, {
                "daemon": daemon_s,
                "children": children,
                "emulator": tree_cpu_s(self._emulator.pid) - emulator,
            }

    def stock(self, number: int) -> float:
        """Seconds."""
        settings = self._leases(f"stock-{number}")
        folder = self._folder / f"stock-{number}"
        folder.mkdir()
        child = [sys.executable, "-m", "benchmarks.baselines.stock_app"]
        room = capacity(settings, memory_mb())
        values = daemon.properties(settings, room, f"stock-{number}", child)
        file = folder / "kcl.properties"
        file.write_text(daemon.properties_text(values))
        config = {
            "endpoint": self._settings.endpoint_url,
            "table": self._settings.windows_table,
            "bucket": self._settings.bucket(self._target.account),
            "run": f"stock-{number}/",
        }
        root = str(Path(__file__).parents[2])
        environment = {
            **self._environment,
            "STOCK_APP": json.dumps(config),
            "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
            "AWS_DEFAULT_REGION": settings.region,
        }
        with (folder / "worker.log").open("ab") as log:
            process = spawn(
                daemon.command(file, settings, room), env=environment, stdout=log, stderr=log
            )
            try:
                return self._follow(
                    settings, lambda: children_of(process.pid), lambda: process.poll() is None
                )
            finally:
                stop(process, 5)

    def _leases(self, run: str) -> Settings:
        """Settings under another application's name, with its lease table."""
        settings = _RunSettings(**self._settings.model_dump(), run=run)
        prepare_leases(
            self._dynamodb, self._kinesis, stream=settings.stream,
            application=settings.application, position="TRIM_HORIZON",
        )  # fmt: skip
        return settings

    def _follow(
        self, settings: Settings, children: Callable[[], Any], alive: Callable[[], bool]
    ) -> float:
        """Seconds from the last child's start to the last checkpoint."""
        deadline = time.monotonic() + PATIENCE_S
        while len(children()) < SHARDS:
            _check(alive() and time.monotonic() < deadline, "the worker did not get its shards")
            time.sleep(0.02)
        started = time.monotonic()
        while not self._done(settings.application):
            _check(alive() and time.monotonic() < deadline, "the worker does not catch up")
            time.sleep(0.1)
        return time.monotonic() - started

    def _done(self, application: str) -> bool:
        rows = self._dynamodb.scan(TableName=application, ConsistentRead=True)["Items"]
        reached = {row["leaseKey"]["S"]: row["checkpoint"]["S"] for row in rows}
        return all(reached.get(shard) == last for shard, last in self._ends.items())

    def _last_numbers(self) -> Iterator[tuple[str, str]]:
        for shard in self._kinesis.list_shards(StreamName=self._settings.stream)["Shards"]:
            iterator = self._kinesis.get_shard_iterator(
                StreamName=self._settings.stream, ShardId=shard["ShardId"],
                ShardIteratorType="TRIM_HORIZON",
            )["ShardIterator"]  # fmt: skip
            last = ""
            while page := (answer := self._kinesis.get_records(ShardIterator=iterator))["Records"]:
                last, iterator = page[-1]["SequenceNumber"], answer["NextShardIterator"]
            yield shard["ShardId"], last

    def _empty(self) -> None:
        """No windows and no objects of an earlier run: each has the same to write."""
        for table, keys in (
            (self._settings.windows_table, ("device", "window")),
            (self._settings.devices_table, ("device",)),
        ):
            for page in self._dynamodb.get_paginator("scan").paginate(TableName=table):
                gone = [
                    {"DeleteRequest": {"Key": {key: item[key] for key in keys}}}
                    for item in page["Items"]
                ]
                for start in range(0, len(gone), 25):
                    self._dynamodb.batch_write_item(RequestItems={table: gone[start : start + 25]})
        s3, bucket = self._target.client("s3"), self._settings.bucket(self._target.account)
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for found in page.get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=found["Key"])


def _check(true: bool, what: str) -> None:
    if not true:
        raise TimeoutError(what)


def records(devices: int, messages: int, readings: int) -> Iterator[tuple[str, bytes]]:
    """Device and data of the records that the other measures fold."""
    for one in lines(devices, messages, readings):
        for record in msgspec.json.decode(one)["records"]:
            yield record["partitionKey"], base64.b64decode(record["data"])


class _RunSettings(Settings):
    """The settings with a KCL application of one run."""

    run: str

    @property
    def application(self) -> str:
        return f"{self.stack}-{self.run}"
