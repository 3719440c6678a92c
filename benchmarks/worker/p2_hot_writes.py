"""P2: client CPU per durable item of the hot store, conditional and idempotent.

Ours: first touch of 2,000 windows of three metrics (a consistent read, then PartiQL INSERTs in
batches) and then updates of the same windows. Baseline B: what a user of boto3 writes, a
conditional ``PutItem`` of the same item, one by one and from 16 threads. The server is a stub in
another process; what counts is the CPU time of this one.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from benchmarks.measure import RUNS, Progress, Result, Samples, check, interleaved, result
from benchmarks.workloads.stub import Stub
from benchmarks.workloads.traffic import BOOT, NOW
from consumers.hot.dynamodb import DynamoStore
from consumers.hot.items import WindowCodec
from consumers.hot.optimistic import STATEMENTS_A_CALL, OptimisticWriter, write_all
from consumers.hot.runs import Stretch, runs_of
from consumers.hot.windows import Window
from ingest.tiers import DEFAULT_TIERS

ITEMS = 500
THREADS = 16


def windows() -> list[Window]:
    """Windows with a run of ten readings each that is not durable yet."""
    made = []
    for device in range(ITEMS):
        window = Window(f"dev-{device:06d}", "1m#2026-11-23T08:00:00Z", NOW + 60_000)
        fill(window, 0)
        made.append(window)
    return made


def fill(window: Window, seq: int) -> None:
    """Fold ten more readings."""
    rows = [{"temperature": 21.5 + i / 8, "humidity": 44.1, "door_open": i % 2} for i in range(10)]
    stretch = Stretch(BOOT, seq, [NOW + seq + i for i in range(10)], rows)
    for run in runs_of(stretch, lambda _: (NOW, NOW + 60_000)):
        window.pending += window.fold(run)


def run(progress: Progress) -> Result:
    """Measure both, and the requests a second that a core carries."""
    codec = WindowCodec("windows", DEFAULT_TIERS[0], lambda: NOW, lambda _: None)
    keys: dict[str, Any] = {
        "aws_access_key_id": "x",
        "aws_secret_access_key": "x",
        "region_name": "eu-west-1",
    }
    with Stub() as endpoint:
        config = Config(max_pool_connections=THREADS)
        stock: Any = boto3.client("dynamodb", endpoint_url=endpoint, config=config, **keys)
        session = botocore.session.get_session()
        session.set_credentials("x", "x")
        client: Any = session.create_client("dynamodb", "eu-west-1", endpoint_url=endpoint)
        writer = OptimisticWriter(DynamoStore(client), codec)
        items = [
            {"device": {"S": w.device}, "window": {"S": w.name}, "ver": {"N": "1"},
             **dict(zip(codec.columns, codec.values(w), strict=True))}
            for w in windows()
        ]  # fmt: skip
        known = windows()
        write_all([(writer, known)])

        def put(item: Any) -> None:
            stock.put_item(TableName="windows", Item=item, ConditionExpression="ver = :v",
                           ExpressionAttributeValues={":v": {"N": "0"}})  # fmt: skip

        def threads() -> None:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(put, items))

        def one_by_one() -> None:
            for item in items:
                put(item)

        def update() -> None:
            for window in known:
                fill(window, window.n)
            write_all([(writer, known)])

        def first_touch() -> None:
            write_all([(writer, windows())])

        progress(f"{ITEMS} items a run …")
        walls: dict[str, list[float]] = {}

        def timed(name: str, work: Any) -> Any:
            def whole() -> None:
                started = time.perf_counter()
                work()
                walls.setdefault(name, []).append(time.perf_counter() - started)

            return whole

        contenders = {
            "B": one_by_one, "B16": threads, "update": update, "first": first_touch,
        }  # fmt: skip
        times = interleaved({n: timed(n, w) for n, w in contenders.items()}, progress)

    def microseconds(seconds: float) -> float:
        return seconds / ITEMS * 1e6

    wall = {name: Samples(values[-RUNS:]).median for name, values in walls.items()}
    return result(
        "client CPU a durable item",
        [
            check("CPU an item updated, against PutItem one by one", times["update"], times["B"],
                  unit="µs", at_most=1 / 8, scale=microseconds),
            check("the same against 16 threads", times["update"], times["B16"],
                  unit="µs", at_most=1 / 8, scale=microseconds),
            check("CPU an item's first touch (read and insert)", times["first"], times["B"],
                  unit="µs", scale=microseconds),
            check("requests a second and core, against PutItem", times["update"], times["B"],
                  unit="/s", scale=lambda s: ITEMS / STATEMENTS_A_CALL / s),
        ],
        items_a_second_and_core=ITEMS / times["update"].median,
        wall_items_a_second={name: ITEMS / seconds for name, seconds in wall.items()},
    )  # fmt: skip
