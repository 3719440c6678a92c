"""P14: USD a million messages, all lines of the bill, at the defaults of ``standard``.

10,000 devices with a message of three metrics every 10 s. The bill is that of ``penstock cost``:
list prices and item writes a message as they were measured in virtual time with the real processor.
The baseline is the same bill with what the former defaults wrote (2.36 units a message: a minute's
windows and latest states every second, an hour's windows every 30 s).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from benchmarks.measure import Progress, Result, Samples, check, limit, result
from infra.cost.bill import Bill, bill
from infra.cost.measured import HotWrites, Measured, Measurements, measurements
from infra.cost.month import WRITES, meters
from infra.cost.prices import read_prices
from infra.cost.workload import Workload

FRESHNESS: Final = "standard"
TARGET: Final = 0.60
FORMER: Final = HotWrites(windows={"1m": 1.0, "1h": 0.36}, roster=1.0, reads=0.17)
"""Item writes and reads a message before flushes followed each item's own clock."""


def run(progress: Progress) -> Result:
    """Bill the workload on a provisioned and on an on-demand stream."""
    progress("bills …")
    measured = measurements()
    on_demand = Workload(
        devices=10_000, every_s=10, freshness=FRESHNESS, tiers=measured.policies[FRESHNESS].tiers
    )
    provisioned = replace(on_demand, shards=on_demand.shards_needed)
    former = replace(
        measured, rows=(Measured(FRESHNESS, 10, FORMER), Measured(FRESHNESS, 11, FORMER))
    )
    now, before = _million(provisioned, measured), _million(provisioned, former)
    shards = f"{provisioned.shards} shards"
    monthly = _bill(provisioned, measured)
    return result(
        "USD a million messages, all lines",
        [
            limit(f"USD a million messages, 10,000 devices, one in 10 s, {shards}", now,
                  unit="USD", at_most=TARGET),
            check("the same, against the former defaults", now, before, unit="USD"),
            check("the same with a stream on demand", _million(on_demand, measured),
                  _million(on_demand, former), unit="USD"),
        ],
        lines={line.line: round(line.usd, 2) for line in monthly.lines},
        write_units_a_message=sum(
            item.quantity for item in monthly.items if item.line == WRITES
        ) / monthly.messages,
    )  # fmt: skip


def _bill(load: Workload, measured: Measurements) -> Bill:
    return bill(meters(load, measured), read_prices(), load.messages)


def _million(load: Workload, measured: Measurements) -> Samples:
    found = _bill(load, measured).usd_a_million
    assert found is not None, "the workload sends something"
    return Samples([found])
