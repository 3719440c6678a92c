"""A bill and its options as text and as JSON. Amounts are in USD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich import box
from rich.table import Column, Table

from infra.cost.bill import Bill, Item
from infra.cost.options import Saving
from infra.cost.prices import PriceList
from infra.cost.workload import Workload


def usd(amount: float) -> str:
    """Cents where they matter: ``0.0012``, ``3.40``, ``1,578``.

    >>> usd(1577.6)
    '1,578'
    """
    magnitude = abs(amount)
    if magnitude >= 100:
        return f"{amount:,.0f}"
    return f"{amount:.2f}" if magnitude >= 0.1 or magnitude == 0 else f"{amount:.2g}"


def quantity(count: float) -> str:
    """A count in three figures, as ``2.63 billion``."""
    for size, name in ((1e9, " billion"), (1e6, " million")):
        if abs(count) >= size:
            return f"{count / size:.3g}{name}"
    return f"{count:,.0f}" if abs(count) >= 100 else f"{count:.3g}"


def bill_table(load: Workload, bill: Bill) -> Table:
    """By line, with the items of a line that has several."""
    table = Table(
        "", "", "", Column("USD", justify="right"),
        title=f"{load.devices:,} devices, a message every {load.every_s:g} s of {load.readings} "
        f"reading{'s' if load.readings > 1 else ''} of {load.metrics} metrics, "
        f"freshness {load.freshness}: a month on AWS",
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for line in bill.lines:
        items = [item for item in bill.items if item.line == line.line]
        if len(items) == 1:
            table.add_row(line.line, *_amount(items[0]), usd(line.usd))
            continue
        table.add_row(line.line, "", "", usd(line.usd))
        for item in items:
            table.add_row(f"  {item.what}", *_amount(item), f"[dim]{usd(item.usd)}[/dim]")
    table.add_section()
    table.add_row("all", quantity(bill.messages), "messages", usd(bill.usd), style="bold")
    if bill.usd_a_million is not None:
        table.add_row("a million messages", "", "", usd(bill.usd_a_million), style="bold")
    return table


def _amount(item: Item) -> tuple[str, str]:
    return quantity(item.quantity), item.unit


def options_table(savings: Sequence[Saving], total: float) -> Table:
    """What would change the bill, the greatest saving first."""
    numbers = [Column(name, justify="right") for name in ("USD", "saves", "")]
    table = Table("change", "by", *numbers, box=box.SIMPLE_HEAD,
                  title="what changes the bill, each change alone")  # fmt: skip
    for saving in savings:
        share = f"{saving.saves / total:+.0%}" if total else ""
        table.add_row(saving.change, saving.how, usd(saving.usd), usd(saving.saves), share)
    return table


def prices_line(prices: PriceList) -> str:
    """Whose prices they are and how old."""
    oldest, newest = prices.dates
    elsewhere = sorted({price.region for price in prices.prices} - {prices.region})
    text = f"list prices of {prices.region} from {oldest} to {newest}, without free tiers"
    if elsewhere:
        text += f"; some are those of {', '.join(elsewhere)}"
    return text


def document(
    load: Workload, bill: Bill, savings: Sequence[Saving], prices: PriceList
) -> dict[str, Any]:
    """What ``penstock cost --json`` prints."""
    oldest, newest = prices.dates
    return {
        "workload": msgspec.to_builtins(load),
        "messages": bill.messages,
        "usd": bill.usd,
        "usd_a_million_messages": bill.usd_a_million,
        "lines": {line.line: line.usd for line in bill.lines},
        "items": msgspec.to_builtins(bill.items),
        "options": msgspec.to_builtins(savings),
        "prices": {"region": prices.region, "oldest": oldest, "newest": newest},
    }
