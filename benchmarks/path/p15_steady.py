"""P15: P4's load for ten minutes. What happens every two minutes does not show in a short run.

The p99 is that of all readings of the ten minutes; a shard that stands still once is in it, and in
the longest stall.
"""

from __future__ import annotations

import time
from typing import Final

from benchmarks.measure import Progress, Result, Samples, limit, result
from benchmarks.path.p4_full_path import (
    DEVICES,
    RATE,
    TARGET_P50_MS,
    TARGET_P99_MS,
    driven,
    latency_within,
    local_stack,
)
from infra.simulation.provision_fleet import fleet_names, provision_fleet
from ingest.histogram import Histogram

MINUTES: Final = 10
SLICE_S: Final = 30.0
TARGET_STALL_MS: Final = 2000.0


def run(progress: Progress) -> Result:
    """Measure the latency and the longest stall of a shard."""
    with local_stack(progress) as stack:
        fleet = provision_fleet(
            stack.target, fleet_names(stack.target.settings.stack, DEVICES), group="bench"
        )
        stack.await_shards()
        slices: list[Histogram] = []
        count = round(MINUTES * 60 / SLICE_S)
        with driven(stack, fleet, RATE, MINUTES * 60 + 4):
            time.sleep(3)
            for number in range(count):
                progress(f"{number * SLICE_S / 60:.1f} of {MINUTES} minutes")
                slices.append(latency_within(stack, SLICE_S))
        snapshot = stack.worker.status.snapshot()
    whole = Histogram().merge(slices)
    worst = max(one.percentile(0.99) or float("inf") for one in slices)
    what = f"{MINUTES} minutes, {DEVICES} devices x {RATE:.0f} messages/s"
    return result(
        "device ts to readable in DynamoDB over ten minutes",
        [
            limit(f"{what}: p99", _one(whole, 0.99), unit="ms", at_most=TARGET_P99_MS),
            limit(f"{what}: p50", _one(whole, 0.5), unit="ms", at_most=TARGET_P50_MS),
            limit(
                f"{what}: longest stall of a shard",
                Samples([snapshot["longest_stall_ms"]]),
                unit="ms",
                at_most=TARGET_STALL_MS,
            ),
        ],
        readings=whole.total,
        worst_p99_of_half_a_minute=worst,
        restarts=snapshot["restarts"],
    )


def _one(histogram: Histogram, share: float) -> Samples:
    return Samples([histogram.percentile(share) or float("inf")])
