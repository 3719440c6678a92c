"""The price list of a Region: the one that ships, or the one that was loaded in this folder from
AWS's public price files, which need no account, only a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from infra.console import UserError
from infra.cost.offers import OfferError, OfferFile, read_offer_file
from infra.cost.prices import LIST, PriceList, PriceListError, encode_prices, read_prices
from infra.runfile import HOME

FILES: Final = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws"
TIMEOUT_S: Final = 30.0


def price_list(region: str) -> PriceList:
    """The list that :func:`save_prices` left in this folder for the Region, or the shipped one.

    :raises UserError: when the file is no price list.
    """
    path = _path(region)
    try:
        return read_prices(path if path.exists() else LIST)
    except PriceListError as error:
        raise UserError(str(error)) from None


def save_prices(prices: PriceList) -> None:
    """Keep a list in this folder, for its Region."""
    path = _path(prices.region)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_prices(prices))


def _path(region: str) -> Path:
    return HOME / f"prices-{region}.json"


def load_price_files(
    services: Iterable[str], region: str, base: str = FILES
) -> dict[str, OfferFile]:
    """The price file of each service for a Region, by service code.

    :raises UserError: when AWS cannot be reached, or the Region is not known there.
    """
    return {service: _load(service, f"{base}/{service}/current/{region}/index.json", region)
            for service in services}  # fmt: skip


def _load(service: str, url: str, region: str) -> OfferFile:
    try:
        with urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return read_offer_file(service, answer.read())
    except (URLError, TimeoutError, ConnectionError) as error:
        raise UserError(
            f"the price file of {service} for {region} cannot be loaded from AWS ({error}): "
            "leave out --refresh to use the list that is here"
        ) from None
    except OfferError as error:
        raise UserError(str(error)) from None
