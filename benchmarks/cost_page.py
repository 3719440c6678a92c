"""The tables of ``docs/cost.md``, computed: ``python -m benchmarks.cost_page`` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from infra.cost.bill import Bill, bill
from infra.cost.measured import measurements
from infra.cost.month import WRITES, meters
from infra.cost.options import ranked
from infra.cost.prices import read_prices
from infra.cost.tables import quantity, usd
from infra.cost.workload import Workload

PAGE: Final = Path(__file__).parents[1] / "docs" / "cost.md"
DEVICES: Final = 10_000
INTERVALS: Final = ((1, "every second"), (10, "every 10 s"), (60, "every minute"))
STANDARD: Final = "standard"
_MARKED: Final = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(text: str) -> str:
    """The page with its tables as they are computed now."""
    tables = {"freshness": freshness(), "lines": lines(), "options": options()}
    return _MARKED.sub(lambda found: f"{found[1]}{tables[found[2]]}{found[3]}", text)


def workload(every_s: float, freshness: str = STANDARD) -> Workload:
    """10,000 devices on a provisioned stream of as many shards as they need."""
    policy = measurements().policies[freshness]
    load = Workload(
        devices=DEVICES, every_s=every_s, freshness=freshness, tiers=policy.tiers,
        segment_age_s=policy.segment_age_s,
    )  # fmt: skip
    return replace(load, shards=load.shards_needed)


def freshness() -> str:
    """Dollars by how often a device reports and how fresh its items are."""
    names = list(measurements().policies)
    head = ["a message", "shards", "messages", *names, *(f"{name}: units" for name in names)]
    return _markdown(head, _freshness_rows(names))


def _freshness_rows(names: Sequence[str]) -> Iterator[list[str]]:
    for every_s, words in INTERVALS:
        bills = [_bill(workload(every_s, name)) for name in names]
        messages = bills[0].messages
        yield [
            words,
            str(workload(every_s).shards),
            quantity(messages),
            *(f"{usd(one.usd)} ({usd(one.usd_a_million or 0)})" for one in bills),
            *(f"{_units(one) / messages:.2f}" for one in bills),
        ]


def lines() -> str:
    """The bill of the middle row, by line."""
    found = _bill(workload(10))
    rows = [[line.line, usd(line.usd), f"{line.usd / found.usd:.0%}"] for line in found.lines]
    rows.append(["**all**", f"**{usd(found.usd)}**", ""])
    return _markdown(["line", "USD a month", "share"], rows)


def options() -> str:
    """What changes that bill."""
    savings = ranked(workload(10), measurements(), read_prices())
    rows = [[saving.change, saving.how, usd(saving.usd), usd(saving.saves)] for saving in savings]
    return _markdown(["change", "by", "USD a month", "saves"], rows)


def _units(found: Bill) -> float:
    return sum(item.quantity for item in found.items if item.line == WRITES)


def _bill(load: Workload) -> Bill:
    return bill(meters(load, measurements()), read_prices(), load.messages)


def _markdown(head: Sequence[str], rows: Iterator[list[str]] | list[list[str]]) -> str:
    ruler = ["---"] * len(head)
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ruler, *rows))


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
