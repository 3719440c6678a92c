"""What a reading costs, measured with the real processor in virtual time, and as recorded."""

from __future__ import annotations

import json
from collections import Counter, deque
from pathlib import Path
from typing import Final

from benchmarks.scale.day import Costs, Units
from benchmarks.scale.fleet import Scenario
from benchmarks.scale.real.messages import regular
from benchmarks.scale.real.shard import POLL_S, RealShard
from benchmarks.scale.real.virtual_aws import Share, VirtualTables
from infra.cost.measured import ROSTER
from infra.cost.workload import Workload

RECORDED: Final = Path(__file__).parents[2] / "results.json"
P7_READINGS: Final = 400_000
WARM_S: Final = 900.0
PLENTY: Final = Share(float("inf"), float("inf"))


def measured_costs(scenario: Scenario) -> Costs:
    """What a reading costs: units measured here with the real processor, in the steady state and
    when it catches up; CPU time as recorded in ``results.json``."""
    devices = scenario.devices // scenario.shards
    backlog_s = scenario.outage[1] - scenario.outage[0]
    behind, pipeline = catching_up(devices, backlog_s, scenario.every_s)
    live = steady(devices, min(3_600.0, scenario.day_s / 12), scenario.every_s)
    load = Workload(devices=1, every_s=scenario.every_s, metrics=scenario.metrics)
    return Costs(live, behind, *cpu_seconds(), pipeline, load.record_bytes)


def cpu_seconds() -> tuple[float, float]:
    """CPU seconds to receive and fold a reading, one a message, by the daemon (P7) and by the
    processor with its segment writer (P1), and to write an item (P2)."""
    found = json.loads(RECORDED.read_text())
    daemon = found["P7"]["cpu_s"]["daemon"] / P7_READINGS
    processor = next(
        one["whole"] for one in found["P1"]["points"] if one["readings_a_message"] == 1
    )
    return daemon + processor * 1e-6, found["P2"]["value"] * 1e-6


def catching_up(devices: int, seconds: float, every_s: float = 60.0) -> tuple[Units, float]:
    """Drain a backlog of so many seconds with the real processor, with tables that take everything:
    units a reading, and the readings a second that it writes."""
    real = RealShard(devices, lambda _: PLENTY)
    count = 0
    for one in regular(devices, seconds, every_s):
        real.put(one, count)
        count += 1
    real.clock.now = started = seconds
    while real.stream.unread:
        real.poll()
    real.commit()
    assert real.tables.durable == count, "each reading once"
    return _units(real.tables, Counter(), 0, count), count / (real.clock.now - started)


def steady(devices: int, seconds: float, every_s: float = 60.0) -> Units:
    """Units a reading of a shard whose devices report regularly, after a first quarter of an
    hour."""
    real = RealShard(devices, lambda _: PLENTY)
    number = counted = 0
    before: tuple[Counter[str], int] | None = None
    coming = deque(regular(devices, WARM_S + seconds, every_s))
    while coming:
        now = real.clock.now
        while coming and coming[0].at <= now:
            real.put(coming.popleft(), number)
            number += 1
            counted += before is not None
        if before is None and now >= WARM_S:
            before = Counter(real.tables.writes), real.tables.reads
        real.poll()
        real.clock.now = max(real.clock.now, now + POLL_S)
    assert before is not None, "it is longer than its first quarter of an hour"
    return _units(real.tables, *before, counted)


def _units(tables: VirtualTables, before: Counter[str], reads: int, readings: int) -> Units:
    writes = tables.writes - before
    windows = writes.total() - writes[ROSTER]
    return Units(windows / readings, writes[ROSTER] / readings, (tables.reads - reads) / readings)
