"""What would change the bill: one change at a time, ranked by what it saves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from infra.cost.bill import bill
from infra.cost.measured import Measurements
from infra.cost.month import meters
from infra.cost.prices import PriceList
from infra.cost.workload import Network, Workload, WorkloadError
from ingest.tiers import Tier

BATCH: Final = 6
DAY: Final = 86400
SHORTER: Final = {"1m": 2 * DAY, "1h": 90 * DAY}
"""A shorter time to live that is worth asking about, by tier."""
LONG_SEGMENT_S: Final = 300.0


NETWORKS: Final[Mapping[Network, str]] = {
    "endpoints": "interface endpoints",
    "nat": "a NAT gateway a zone",
    "public": "public addresses of their own, closed to what comes in",
}


class Option(Struct, frozen=True):
    """One change, how it is made, and the workload with it."""

    change: str
    how: str
    load: Workload


class Saving(Struct, frozen=True):
    """An option's bill, and how much lower it is (USD a month; negative: higher)."""

    change: str
    how: str
    usd: float
    saves: float


def ranked(load: Workload, measured: Measurements, prices: PriceList) -> Sequence[Saving]:
    """Every option, the one that saves most first. Savings do not add up: each is alone."""
    now = bill(meters(load, measured), prices, load.messages).usd
    savings = []
    for option in options(load, measured):
        usd = bill(meters(option.load, measured), prices, option.load.messages).usd
        savings.append(Saving(option.change, option.how, usd, now - usd))
    return sorted(savings, key=lambda saving: (-saving.saves, saving.change))


def options(load: Workload, measured: Measurements) -> Iterator[Option]:
    """Changes that this workload can make and has not made."""
    for freshness, policy in measured.policies.items():
        if freshness != load.freshness:
            yield Option(
                f"freshness {freshness} instead of {load.freshness}",
                f'freshness = "{freshness}" in penstock.toml',
                replace(load, freshness=freshness, segment_age_s=policy.segment_age_s),
            )
    yield from _of_the_devices(load)
    yield from _of_the_stream(load)
    yield from _of_the_tables(load)
    if load.segment_age_s < LONG_SEGMENT_S:
        yield Option(
            f"segments of {LONG_SEGMENT_S:.0f} s instead of {load.segment_age_s:.0f} s",
            f"segment_age_s = {LONG_SEGMENT_S:.0f}",
            replace(load, segment_age_s=LONG_SEGMENT_S),
        )
    for network, words in NETWORKS.items():
        if network != load.network:
            yield Option(f"workers reach AWS by {words}", "your network",
                         replace(load, network=network))  # fmt: skip


def _of_the_devices(load: Workload) -> Iterator[Option]:
    try:
        batched = replace(load, every_s=load.every_s * BATCH, readings=load.readings * BATCH)
    except WorkloadError:  # the message would be too large
        return
    yield Option(
        f"{batched.readings} readings a message, every {batched.every_s:g} s",
        "batching on the device, penstock device configure",
        batched,
    )
    if load.acknowledge:
        yield Option("no durable acknowledgements", "acknowledge = false",
                     replace(load, acknowledge=False))  # fmt: skip


def _of_the_stream(load: Workload) -> Iterator[Option]:
    if load.shards:
        yield Option("a stream on demand", "penstock deploy --shards 0", replace(load, shards=0))
    else:
        shards = load.shards_needed
        yield Option(
            f"a provisioned stream of {shards} shards" if shards > 1 else "a stream of one shard",
            f"penstock deploy --shards {shards}",
            replace(load, shards=shards),
        )
    if load.fan_out:
        yield Option("polling instead of enhanced fan-out", 'retrieval = "polling"',
                     replace(load, fan_out=False))  # fmt: skip
    if load.retention_hours > 24:
        yield Option("records kept 24 hours", "penstock deploy --retention-hours 24",
                     replace(load, retention_hours=24))  # fmt: skip


def _of_the_tables(load: Workload) -> Iterator[Option]:
    if load.provisioned_tables:
        yield Option("tables on demand", "the tables' billing mode",
                     replace(load, provisioned_tables=False))  # fmt: skip
    else:
        yield Option("tables with provisioned capacity and auto scaling",
                     "the tables' billing mode",
                     replace(load, provisioned_tables=True))  # fmt: skip
    for index, tier in enumerate(load.tiers):
        shorter = SHORTER.get(tier.name, tier.ttl_s)
        if shorter < tier.ttl_s:
            kept = Tier(tier.name, tier.flush_s, shorter)
            tiers = (*load.tiers[:index], kept, *load.tiers[index + 1 :])
            yield Option(
                f"windows of {tier.name} kept {shorter // DAY} days, not {tier.ttl_s // DAY}",
                f"ttl_s of the tier {tier.name}",
                replace(load, tiers=tiers),
            )
    if load.pitr:
        yield Option("no point-in-time recovery of the tables", "the tables' template",
                     replace(load, pitr=False))  # fmt: skip
