"""AWS's public price files, read into a price list. Bytes in, values out; nothing is fetched here.

The format is that of *Reading the service price list file for an AWS service* (AWS Billing user
guide): products by SKU with their attributes, and for each SKU its on-demand terms with price
dimensions from ``beginRange`` to ``endRange``, in USD a unit, as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from infra.cost.prices import Offer, Price, PriceList, PriceTier

SOURCE: Final = "AWS price list"


class Product(Struct):
    """One SKU."""

    sku: str
    attributes: Mapping[str, str] = {}


class Dimension(Struct, rename="camel"):
    """A price for a range of units."""

    price_per_unit: Mapping[str, str]
    begin_range: str = "0"
    end_range: str = "Inf"


class Term(Struct, rename="camel"):
    """On-demand terms of a SKU."""

    price_dimensions: Mapping[str, Dimension]


class Terms(Struct):
    """By SKU, then by the term's own code."""

    OnDemand: Mapping[str, Mapping[str, Term]] = {}


class OfferFile(Struct, rename="camel"):
    """The parts of a service's price file that are read."""

    offer_code: str
    publication_date: str
    products: Mapping[str, Product]
    terms: Terms


class OfferError(Exception):
    """A file is not what AWS documents; the text says which file and why."""


class Change(Struct, frozen=True):
    """A row whose price is another one now."""

    id: str
    before: Sequence[PriceTier]
    after: Sequence[PriceTier]


class Kept(Struct, frozen=True):
    """A row that the files do not tell, and why."""

    id: str
    reason: str


class Refreshed(Struct, frozen=True):
    """A list from the files, what changed by it, and which rows were left as they were."""

    prices: PriceList
    changed: Sequence[Change]
    kept: Sequence[Kept]


def read_offer_file(service: str, content: bytes) -> OfferFile:
    """Read the file of a service.

    :raises OfferError: when it is none, or another service's.
    """
    try:
        file = msgspec.json.decode(content, type=OfferFile)
    except msgspec.MsgspecError as error:
        raise OfferError(f"the price file of {service} is not as documented: {error}") from None
    if file.offer_code != service:
        raise OfferError(f"the price file of {service} is that of {file.offer_code}")
    return file


def services(prices: PriceList) -> Sequence[str]:
    """Codes of the services whose files a list can be refreshed from."""
    return sorted({price.offer.service for price in prices.prices if price.offer})


def refresh(prices: PriceList, region: str, files: Mapping[str, OfferFile]) -> Refreshed:
    """The list with the prices of a Region's files, by service code."""
    rows, changed, kept = [], [], []
    for price in prices.prices:
        found = _look_up(price, files)
        if isinstance(found, str):
            kept.append(Kept(price.id, found))
            rows.append(price)
            continue
        tiers, date = found
        if tiers != price.tiers:
            changed.append(Change(price.id, price.tiers, tiers))
        rows.append(replace(price, tiers=tiers, region=region, source=SOURCE, date=date))
    return Refreshed(PriceList(prices.currency, region, tuple(rows)), changed, kept)


def _look_up(
    price: Price, files: Mapping[str, OfferFile]
) -> tuple[tuple[PriceTier, ...], str] | str:
    """Tiers and date from the files, or why there are none."""
    if price.offer is None:
        return "its price file is too large to load, or is not by Region"
    file = files[price.offer.service]
    found = {tiers for tiers in _tiers(price, price.offer, file) if tiers}
    if len(found) != 1:
        return f"{len(found) or 'no'} prices in the file fit {price.offer.usagetype}"
    return found.pop(), file.publication_date[:10]


def _tiers(price: Price, offer: Offer, file: OfferFile) -> Iterator[tuple[PriceTier, ...]]:
    """Of every product that fits. Tiers that cost nothing are left out: they are free tiers."""
    for product in file.products.values():
        if not _fits(product, offer):
            continue
        for term in file.terms.OnDemand.get(product.sku, {}).values():
            ranges = sorted(term.price_dimensions.values(), key=lambda d: float(d.begin_range))
            tiers = [
                PriceTier(
                    round(float(one.price_per_unit["USD"]) * offer.hours * price.per, 10),
                    None if one.end_range == "Inf" else float(one.end_range),
                )
                for one in ranges
                if "USD" in one.price_per_unit
            ]
            yield tuple(tier for tier in tiers if tier.usd > 0)


def _fits(product: Product, offer: Offer) -> bool:
    attributes = product.attributes
    return (
        re.search(offer.usagetype, attributes.get("usagetype", "")) is not None
        and (offer.operation is None or attributes.get("operation") == offer.operation)
        and (offer.group is None or attributes.get("group") == offer.group)
    )
