"""What a run on the embedded AWS would have cost, from its meters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.cost.prices import read_prices
from infra.cost.run import RunCost, price_run
from infra.emulator.usage import Usage

COUNTS = {
    "dynamodb": {
        "tables": {
            "penstock-windows": {"write_units": 1_000_000, "read_units": 2_000_000},
            "penstock-devices": {"write_units": 1_000_000, "read_units": 0},
        }
    },
    "kinesis": {"records": 1_000_000, "bytes_in": 300_000_000, "put_units": 1_000_000},
    "s3": {"put_requests": 1_000, "get_requests": 0, "bytes_in": 1 << 30},
}


def priced(counts: dict[str, object] = COUNTS, seconds: float = 3600) -> RunCost:
    usage = Usage("strict", counts)
    return price_run(usage, read_prices(), devices=1_000, seconds=seconds, shards=2)


def test_every_line_is_what_was_counted_at_list_price() -> None:
    assert priced().document()["cost"]["lines"] == pytest.approx(
        {
            "IoT connectivity": 1_000 * 60 * 0.08e-6,
            "IoT rules and actions": 0.30,
            "Kinesis": 2 * 0.015 + 0.014,
            "DynamoDB writes": 2 * 0.625,
            "DynamoDB reads": 2 * 0.125,
            "S3 requests": 0.005,
            "S3 storage": 0.023,
            "Fargate workers": 0.03238 + 2 * 0.00356,
        }
    )


def test_the_lines_are_the_whole_and_so_is_the_figure_a_million() -> None:
    cost = priced().document()["cost"]
    assert cost["usd"] == pytest.approx(sum(cost["lines"].values()))
    assert cost["usd_a_million_messages"] == pytest.approx(cost["usd"])


def test_a_payload_above_5_kb_is_metered_twice_by_iot_core() -> None:
    for payload, factor in ((5_120, 1), (5_124, 2)):
        record = payload / 3 * 4  # base64
        kinesis = {"records": 1_000, "bytes_in": 1_000 * record, "put_units": 1_000}
        lines = priced({"kinesis": kinesis}).document()["cost"]["lines"]
        assert lines["IoT rules and actions"] == pytest.approx(factor * 1_000 * 0.30e-6)


def test_a_run_that_sent_nothing_costs_its_time_and_no_figure_a_message() -> None:
    cost = priced({}, seconds=60)
    assert cost.bill.usd > 0
    assert cost.document()["cost"]["usd_a_million_messages"] is None
    assert "a million" not in "".join(cost.lines())


def test_only_what_was_used_since_the_start_is_priced() -> None:
    before = Usage("strict", COUNTS)
    after = replace(before)
    assert price_run(
        after.since(before), read_prices(), devices=0, seconds=0, shards=2
    ).bill.usd == 0  # fmt: skip


def test_a_run_prints_units_and_the_largest_lines_first() -> None:
    units, cost = priced().lines()
    assert units == "units     2,000,000 written, 2,000,000 read; 2.00 written a message"
    assert cost.startswith("cost      1.92 USD on AWS, 1.92 a million messages: DynamoDB writes 1")
