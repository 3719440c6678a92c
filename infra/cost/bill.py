"""Meters in, a bill out: what was counted, at list prices, by line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from infra.cost.prices import Price, PriceList


class Meter(Struct, frozen=True):
    """So many units of a price, and the line of the bill that they belong to."""

    line: str
    what: str
    price: str
    quantity: float


class Item(Struct, frozen=True):
    """A meter with its price."""

    line: str
    what: str
    quantity: float
    unit: str
    usd: float


class Line(Struct, frozen=True):
    """The items of one line, together."""

    line: str
    usd: float


class Bill(Struct, frozen=True):
    """What so many messages cost, by item. ``messages`` may be 0 where nothing was sent."""

    items: Sequence[Item]
    messages: float

    @property
    def usd(self) -> float:
        """All items."""
        return sum(item.usd for item in self.items)

    @property
    def usd_a_million(self) -> float | None:
        """All items, for a million messages; ``None`` where nothing was sent."""
        return self.usd / self.messages * 1_000_000 if self.messages else None

    @property
    def lines(self) -> Sequence[Line]:
        """Items of the same line added up, in the order of the items."""
        found: dict[str, float] = defaultdict(float)
        for item in self.items:
            found[item.line] += item.usd
        return [Line(line, usd) for line, usd in found.items()]


class UnknownPriceError(KeyError):
    """The price list lacks a price that is metered."""


def bill(meters: Iterable[Meter], prices: PriceList, messages: float) -> Bill:
    """Price the meters of one month. Meters of one price share its tiers, in proportion.

    :raises UnknownPriceError: when the list lacks a price.
    """
    meters = list(meters)
    known = prices.by_id()
    rates = _rates(meters, known)
    return Bill(
        items=[
            Item(m.line, m.what, m.quantity, known[m.price].unit, m.quantity * rates[m.price])
            for m in meters
        ],
        messages=messages,
    )


def _rates(meters: Sequence[Meter], prices: Mapping[str, Price]) -> Mapping[str, float]:
    """USD a unit, over all units of a price."""
    quantities: dict[str, float] = defaultdict(float)
    for meter in meters:
        quantities[meter.price] += meter.quantity
    try:
        return {
            price: prices[price].cost(quantity) / quantity if quantity else 0.0
            for price, quantity in quantities.items()
        }
    except KeyError as error:
        raise UnknownPriceError(f"the price list has no {error}: refresh or repair it") from None
