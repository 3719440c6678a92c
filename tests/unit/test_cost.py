"""Prices, steps, bills: what a unit costs and how units are counted."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace

from benchmarks.workloads.virtual_shard import measure
from dashboard.function import serverless
from dashboard.http.api import STATIC
from infra.cost import metering
from infra.cost.bill import Meter, UnknownPriceError, bill
from infra.cost.item_sizes import roster_size
from infra.cost.measured import (
    HotPolicy,
    HotWrites,
    Measured,
    Measurements,
    measurements,
    writes_a_message,
)
from infra.cost.month import LIST_S, PAGE_ROWS, POLL_S, ROSTER_S, meters
from infra.cost.options import options, ranked
from infra.cost.prices import Price, PriceList, PriceListError, PriceTier, read_prices
from infra.cost.workload import Workload, WorkloadError
from ingest.freshness import Freshness, flush_policy
from ingest.settings import Settings
from tests.harness.command import run

LOAD = Workload(devices=10_000, every_s=10, tiers=measurements().policies["standard"].tiers)


def quantities(load: Workload) -> dict[str, float]:
    """Units of a month by price."""
    found: dict[str, float] = {}
    for meter in meters(load, measurements()):
        found[meter.price] = found.get(meter.price, 0) + meter.quantity
    return found


def lines(load: Workload) -> dict[str, float]:
    """USD of a month by line."""
    monthly = bill(meters(load, measurements()), read_prices(), load.messages)
    return {line.line: line.usd for line in monthly.lines}


@pytest.mark.parametrize(
    ("count", "edge"),
    [
        (metering.iot_messages, 5 * 1024),
        (metering.put_units, 25 * 1024),
        (metering.write_units, 1024),
        (metering.read_units, 4 * 1024),
    ],
)
def test_a_step_ends_with_its_last_byte(count: object, edge: int) -> None:
    assert callable(count)
    assert [count(size) for size in (0, 1, edge, edge + 1, 2 * edge, 2 * edge + 1)] == [
        1, 1, 1, 2, 2, 3,
    ]  # fmt: skip


def test_records_count_whole_kilobytes_on_demand() -> None:
    assert [metering.on_demand_bytes(size) for size in (1, 1024, 1025)] == [1024, 1024, 2048]


def test_every_row_tells_its_unit_its_source_and_its_date() -> None:
    for price in read_prices().prices:
        assert price.unit
        assert price.source
        assert price.date >= "2024"
        assert all(tier.usd > 0 for tier in price.tiers), f"{price.id} has a free tier"


def test_a_tiered_price_is_paid_tier_by_tier() -> None:
    price = read_prices().by_id()["iot.message"]
    assert price.cost(1e9) == pytest.approx(1_000)
    assert price.cost(2e9) == pytest.approx(1_800)
    assert price.cost(6e9) == pytest.approx(1_000 + 3_200 + 700)


def test_tiers_that_do_not_rise_are_refused() -> None:
    row = {"id": "x", "what": "x", "unit": "x", "per": 1, "region": "x", "source": "x",
           "date": "2026-01"}  # fmt: skip
    for tiers in (
        (PriceTier(1.0, 5), PriceTier(1.0, 5), PriceTier(1.0)),
        (PriceTier(1.0, 5),),
        (PriceTier(1.0), PriceTier(1.0)),
    ):
        with pytest.raises(ValueError, match="higher and higher"):
            Price(**row, tiers=tiers)  # type: ignore[arg-type]


def test_a_file_that_is_no_price_list_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"currency": "USD"}')
    with pytest.raises(PriceListError, match=r"prices.json is no price list"):
        read_prices(path)


def test_meters_of_one_price_share_its_tiers() -> None:
    both = [Meter("a", "x", "iot.message", 1e9), Meter("b", "y", "iot.message", 1e9)]
    found = bill(both, read_prices(), 0)
    assert [line.usd for line in found.lines] == pytest.approx([900, 900])
    assert found.usd == pytest.approx(1_800)
    assert found.usd_a_million is None


def test_a_meter_without_a_price_is_an_error() -> None:
    with pytest.raises(UnknownPriceError):
        bill([Meter("a", "x", "iot.message", 1)], PriceList("USD", "x", ()), 1)


def test_basic_ingest_is_no_message_and_each_message_is_a_rule_and_an_action() -> None:
    found = quantities(replace(LOAD, connections_a_day=0))
    assert found["iot.message"] == 0
    assert found["iot.rule"] == found["iot.action"] == pytest.approx(1_000 * 730 * 3600)
    assert found["iot.connection"] == 10_000 * 730 * 60


def test_a_message_above_5_kb_is_two_rules_and_two_actions() -> None:
    readings = next(n for n in range(1, 1000) if replace(LOAD, readings=n).published_bytes > 5120)
    small, large = replace(LOAD, readings=readings - 1), replace(LOAD, readings=readings)
    assert quantities(large)["iot.rule"] == pytest.approx(2 * quantities(small)["iot.rule"])
    assert quantities(large)["iot.action"] == pytest.approx(2 * quantities(small)["iot.action"])


def test_an_acknowledgement_is_a_publish_a_delivery_and_a_puback() -> None:
    load = replace(LOAD, connections_a_day=0, acknowledge=True, segment_age_s=60)
    assert quantities(load)["iot.message"] == pytest.approx(3 * 10_000 * 730 * 60)


def test_with_acknowledgements_each_commit_writes_what_waits() -> None:
    more = quantities(replace(LOAD, acknowledge=True))["dynamodb.write"]
    assert more > 1.5 * quantities(LOAD)["dynamodb.write"]


def test_a_provisioned_stream_pays_shards_and_units_and_one_on_demand_pays_gigabytes() -> None:
    provisioned, on_demand = quantities(replace(LOAD, shards=2)), quantities(LOAD)
    assert provisioned["kinesis.shard-hour"] == 2 * 730
    assert provisioned["kinesis.put-unit"] == pytest.approx(LOAD.messages)
    assert on_demand["kinesis.in-gb"] == pytest.approx(LOAD.messages * 1024 / 1024**3)
    assert on_demand["kinesis.out-gb"] < on_demand["kinesis.in-gb"]
    assert "kinesis.shard-hour" not in on_demand


def test_an_item_of_more_than_1_kb_is_written_with_two_units() -> None:
    writes = quantities(LOAD)["dynamodb.write"]
    assert quantities(replace(LOAD, metrics=10))["dynamodb.write"] > 1.5 * writes


def test_provisioned_tables_are_paid_with_room_for_peaks() -> None:
    load = replace(LOAD, provisioned_tables=True)
    on_demand = sum(
        m.quantity for m in meters(LOAD, measurements())
        if m.price == "dynamodb.write" and m.what not in ("leases", "workers' status")
    )  # fmt: skip
    assert quantities(load)["dynamodb.provisioned-write"] == pytest.approx(
        on_demand / (730 * 3600) / 0.7
    )


def test_a_watched_device_pays_a_write_a_message_and_no_other_does() -> None:
    more = quantities(replace(LOAD, watched=50))["dynamodb.write"]
    less = quantities(LOAD)["dynamodb.write"]
    assert 0 < more - less <= 50 / 10 * 730 * 3600


def test_shards_too_few_for_the_load_are_refused_with_how_many_it_needs() -> None:
    with pytest.raises(WorkloadError, match="need 2 shards"):
        replace(LOAD, shards=1)


def test_a_message_that_iot_core_would_refuse_is_refused() -> None:
    with pytest.raises(WorkloadError, match="send fewer readings"):
        replace(LOAD, metrics=64, readings=1000)


def test_defaults_are_those_of_the_settings() -> None:
    settings = Settings.model_fields
    assert settings["segment_readings"].default == LOAD.segment_readings
    assert settings["segment_bytes"].default == LOAD.segment_bytes
    assert settings["failover_ms"].default == LOAD.failover_s * 1000


def test_every_freshness_was_measured_as_it_is_now() -> None:
    assert measurements().policies == {
        name: HotPolicy(*flush_policy(name)) for name in get_args(Freshness)
    }, "run python -m benchmarks.record_writes"


def test_the_code_writes_as_often_as_was_measured() -> None:
    measured = writes_a_message(measurements(), "standard", 60)
    now = measure(HotPolicy(*flush_policy("standard")), 60)
    wrong = "run python -m benchmarks.record_writes"
    assert now.total == pytest.approx(measured.total, rel=0.02), wrong
    assert now.reads == pytest.approx(measured.reads, rel=0.02), wrong


def writes(count: float) -> HotWrites:
    return HotWrites(windows={"1m": count}, roster=count, reads=count)


def test_between_measured_intervals_writes_lie_between_the_measured_ones() -> None:
    table = Measurements({}, (Measured("x", 10, writes(0.1)), Measured("x", 1000, writes(1.0))), {})
    assert writes_a_message(table, "x", 10).roster == pytest.approx(0.1)
    assert writes_a_message(table, "x", 100).roster == pytest.approx(0.1 * 10**0.5)
    assert writes_a_message(table, "x", 1).roster == pytest.approx(0.1)
    assert writes_a_message(table, "x", 5000) == writes(1.0)
    with pytest.raises(KeyError):
        writes_a_message(table, "y", 10)


def test_every_option_can_be_priced_and_the_greatest_saving_is_first() -> None:
    everything = replace(
        LOAD, fan_out=True, acknowledge=True, retention_hours=48, network="nat",
        freshness="live", shards=2,
    )  # fmt: skip
    for load in (LOAD, everything, replace(everything, shards=0, provisioned_tables=True)):
        savings = ranked(load, measurements(), read_prices())
        assert [s.saves for s in savings] == sorted((s.saves for s in savings), reverse=True)
        assert len({s.change for s in savings}) == len(savings)
        assert all(option.load != load for option in options(load, measurements()))


def test_the_command_prints_a_bill_whose_lines_add_up(tmp_path: Path) -> None:
    result = run(tmp_path, "cost", "--devices", "10000", "--every", "10", "--json")
    assert result.code == 0, result.err
    found = result.json
    assert sum(found["lines"].values()) == pytest.approx(found["usd"])
    assert found["usd"] == pytest.approx(sum(lines(LOAD).values()))
    assert found["usd_a_million_messages"] == pytest.approx(found["usd"] / 2628)


def test_windows_kept_half_as_long_store_half_as_much(tmp_path: Path) -> None:
    week, half = (
        run(tmp_path, "cost", "--devices", "100", "--every", "60", "--json",
            "--retention", f"1m={days}d", "--retention", f"1h={days}d").json
        for days in (20, 10)
    )  # fmt: skip
    assert half["lines"]["DynamoDB storage"] == pytest.approx(
        week["lines"]["DynamoDB storage"] / 2, rel=0.01
    )


def test_the_settings_decide_what_the_command_line_leaves_open(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text('freshness = "economy"\nacknowledge = true\n')
    found = run(tmp_path, "cost", "--devices", "10", "--every", "10", "--json").json
    assert found["workload"]["freshness"] == "economy"
    assert found["workload"]["acknowledge"]
    assert found["workload"]["segment_age_s"] == flush_policy("economy").segment_age_s


def test_flush_intervals_that_were_not_measured_are_told(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("latest_flush_s = 7")
    result = run(tmp_path, "cost", "--devices", "10", "--every", "10", "--json")
    assert "writes are those of freshness standard" in result.err
    assert result.json["usd"] > 0


def test_tiers_that_were_not_measured_are_refused(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text('[[tiers]]\nname = "10s"\nflush_s = 1\nttl_s = 86400\n')
    result = run(tmp_path, "cost", "--devices", "10", "--every", "10")
    assert result.code == 1
    assert "the tiers 10s costs was not measured: leave `tiers` out" in result.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--retention", "5m=3d"), "name a tier (1m, 1h) and days"),
        (("--retention", "1m=week"), "name a tier (1m, 1h) and days"),
        (("--metrics", "64", "--readings", "1000"), "send fewer readings a message"),
        (("--shards", "1", "--metrics", "64"), "with room for peaks"),
    ],
)
def test_a_wrong_workload_is_wrong_usage(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    result = run(tmp_path, "cost", "--devices", "10000", "--every", "10", *arguments)
    assert result.code == 2
    assert sentence in " ".join(result.err.replace("│", " ").split())


def test_an_open_page_costs_its_polls_and_what_they_read_and_nobody_costs_nothing() -> None:
    one, none = replace(LOAD, viewers=1.0, users=40), quantities(LOAD)
    found = quantities(one)
    polls = 730 * 3600 * (1 / 2 + 1 / 15)
    for price in ("api-gateway.request", "lambda.request", "cloudfront.request"):
        assert found[price] == pytest.approx(polls)
        assert price not in none
    assert found["cognito.user"] == 40
    scans = 730 * 3600 / 5 * metering.read_units(10_000 * roster_size(3)) / 2
    assert found["dynamodb.read"] - none["dynamodb.read"] == pytest.approx(scans + polls * 50)
    assert {"API Gateway", "Lambda (read API)", "CloudFront", "Cognito"} <= set(lines(one))
    ten = quantities(replace(one, viewers=10.0))
    assert ten["lambda.request"] == pytest.approx(10 * polls)


def test_the_page_polls_and_the_function_reads_as_often_as_the_bill_says() -> None:
    live = (STATIC / "live.js").read_text()
    assert f"const POLL_MS = {POLL_S * 1000:.0f};" in live
    fleet = (STATIC / "fleet.js").read_text()
    assert f"setInterval(load, {LIST_S * 1000:.0f})" in fleet
    assert f"const PAGE = {PAGE_ROWS};" in fleet
    assert serverless.FASTEST_S == ROSTER_S
