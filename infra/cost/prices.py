"""AWS's list prices, as values: what a unit costs, for how many units, where and since when.

``infra/prices.json`` is the list that ships; ``penstock cost --refresh`` writes a newer one of the
same form. Free tiers are not part of it: they end, and an account has them once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

LIST: Final = Path(__file__).parents[1] / "prices.json"

Amount = Annotated[float, Meta(ge=0)]


class PriceTier(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What ``per`` units cost (USD) up to the ``up_to``-th unit of a month; none: all further."""

    usd: Amount
    up_to: float | None = None


class Offer(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which product of AWS's public price file this is.

    ``usagetype`` is a regular expression (the file writes a Region's code before it), the others
    must be equal. ``hours`` turns an hourly price into a monthly one.
    """

    service: str
    usagetype: str
    operation: str | None = None
    group: str | None = None
    hours: float = 1


class Price(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One row of the list: ``tiers`` are the price of ``per`` units, ``date`` is when ``source``
    said so."""

    id: str
    what: str
    unit: str
    per: Annotated[int, Meta(gt=0)]
    tiers: Annotated[tuple[PriceTier, ...], Meta(min_length=1)]
    region: str
    source: str
    date: Annotated[str, Meta(pattern=r"^20\d\d-\d\d(-\d\d)?$")]
    offer: Offer | None = None

    def __post_init__(self) -> None:
        bounds = [tier.up_to for tier in self.tiers]
        inner = [bound for bound in bounds[:-1] if bound is not None]
        if bounds[-1] is not None or len(inner) < len(bounds) - 1 or inner != sorted(set(inner)):
            raise ValueError(f"{self.id}: tiers must end higher and higher, the last one nowhere")

    def cost(self, quantity: float) -> float:
        """USD for so many units in one month.

        >>> messages.cost(1_500_000_000)  # a billion at 1.00 a million, the rest at 0.80
        1400.0

        :raises ValueError: when the quantity is negative.
        """
        if quantity < 0:
            raise ValueError(f"{self.id}: a quantity of {quantity} cannot be priced")
        total, below = 0.0, 0.0
        for tier in self.tiers:
            above = quantity if tier.up_to is None else min(quantity, tier.up_to)
            if above > below:
                total += (above - below) * tier.usd / self.per
                below = above
        return total


class PriceList(Struct, frozen=True, forbid_unknown_fields=True):
    """The rows for one Region. A row that could not be had there is another Region's, and says
    so in its ``region``."""

    currency: str
    region: str
    prices: tuple[Price, ...]

    def __post_init__(self) -> None:
        if len({price.id for price in self.prices}) != len(self.prices):
            raise ValueError("a price is in the list twice")

    @property
    def dates(self) -> tuple[str, str]:
        """Of the oldest and of the newest row."""
        dates = sorted(price.date for price in self.prices)
        return dates[0], dates[-1]

    def by_id(self) -> Mapping[str, Price]:
        """Id to row."""
        return {price.id: price for price in self.prices}


class PriceListError(Exception):
    """A file is no price list; the text says which and why."""


def read_prices(path: Path = LIST) -> PriceList:
    """Read a list.

    :raises PriceListError: when the file is not one.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=PriceList)
    except (OSError, msgspec.MsgspecError) as error:
        raise PriceListError(f"{path} is no price list ({error}): remove it") from None


def encode_prices(prices: PriceList) -> bytes:
    """The file's content: one row a line."""
    rows = b",\n".join(b" " + msgspec.json.encode(price) for price in prices.prices)
    head = msgspec.json.encode({"currency": prices.currency, "region": prices.region})
    return head[:-1] + b',"prices":[\n' + rows + b"\n]}\n"
