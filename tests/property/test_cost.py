"""A bill never falls when more is sent, stored or kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from infra.cost import metering
from infra.cost.bill import bill
from infra.cost.measured import measurements
from infra.cost.month import meters
from infra.cost.prices import read_prices
from infra.cost.workload import Workload

PRICES = read_prices()
MEASURED = measurements()

workloads = st.builds(
    lambda freshness, **values: Workload(
        freshness=freshness, tiers=MEASURED.policies[freshness].tiers, **values
    ),
    freshness=st.sampled_from(sorted(MEASURED.policies)),
    devices=st.integers(1, 200_000),
    every_s=st.floats(1, 3600),
    metrics=st.integers(1, 20),
    readings=st.integers(1, 30),
    fan_out=st.booleans(),
    provisioned_tables=st.booleans(),
    acknowledge=st.booleans(),
    retention_hours=st.integers(24, 168),
    workers=st.integers(1, 20),
)


def usd(load: Workload) -> float:
    return bill(meters(load, MEASURED), PRICES, load.messages).usd


@given(workloads, st.floats(1, 10))
def test_more_devices_never_cost_less(load: Workload, factor: float) -> None:
    more = replace(load, devices=int(load.devices * factor))
    assert usd(more) >= usd(load) * (1 - 1e-9)


@given(workloads, st.floats(1, 10))
def test_more_frequent_messages_never_cost_less(load: Workload, factor: float) -> None:
    more = replace(load, every_s=max(1.0, load.every_s / factor))
    assert usd(more) >= usd(load) * (1 - 1e-9)


@given(workloads, st.integers(0, 10))
def test_more_metrics_never_cost_less(load: Workload, further: int) -> None:
    assert usd(replace(load, metrics=load.metrics + further)) >= usd(load) * (1 - 1e-9)


@given(workloads, st.integers(0, 144))
def test_a_longer_retention_never_costs_less(load: Workload, hours: int) -> None:
    longer = replace(load, retention_hours=min(168, load.retention_hours + hours))
    assert usd(longer) >= usd(load) * (1 - 1e-9)


@given(workloads)
def test_every_meter_counts_something_and_the_lines_are_the_whole(load: Workload) -> None:
    found = bill(meters(load, MEASURED), PRICES, load.messages)
    assert all(item.quantity >= 0 and item.usd >= 0 for item in found.items)
    assert abs(sum(line.usd for line in found.lines) - found.usd) < 1e-6


@given(st.integers(0, 10**7), st.sampled_from([1024, 4096, 5120, 25600]))
def test_steps_cover_a_size_and_no_step_is_empty(size: int, step: int) -> None:
    count = metering.steps(size, step)
    assert count * step >= size
    assert count == 1 or (count - 1) * step < size


@given(st.sampled_from([p for p in PRICES.prices if len(p.tiers) > 1] + [PRICES.prices[0]]),
       st.floats(0, 1e11), st.floats(0, 1e11))  # fmt: skip
def test_a_price_grows_with_the_quantity_and_never_faster_than_its_first_tier(
    price: object, first: float, second: float
) -> None:
    assert hasattr(price, "cost")
    low, high = sorted((first, second))
    assert price.cost(low) <= price.cost(high) + 1e-9
