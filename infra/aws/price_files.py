"""Loads AWS's public price files. They need no account, only a network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from infra.console import UserError
from infra.cost.offers import OfferError, OfferFile, read_offer_file

FILES: Final = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws"
TIMEOUT_S: Final = 30.0


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
