"""AWS's public price files, in the documented format, become rows of the list."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from infra.console import UserError
from infra.cost.offers import OfferError, OfferFile, read_offer_file, refresh, services
from infra.cost.price_files import load_price_files
from infra.cost.prices import PriceList, PriceTier, encode_prices, read_prices
from tests.harness.command import run

OFFERS = Path(__file__).parents[1] / "events" / "offers"
SERVICES = ("AWSIoT", "AmazonDynamoDB")


def some_prices() -> PriceList:
    """The shipped rows of the two services whose files are here, and one without a file."""
    shipped = read_prices()
    rows = [p for p in shipped.prices if p.offer is None or p.offer.service in SERVICES]
    return PriceList(shipped.currency, shipped.region, tuple(rows))


def files() -> dict[str, OfferFile]:
    return {s: read_offer_file(s, (OFFERS / f"{s}.json").read_bytes()) for s in SERVICES}


def test_a_row_takes_price_region_source_and_date_of_the_file() -> None:
    row = refresh(some_prices(), "eu-central-1", files()).prices.by_id()["dynamodb.write"]
    assert row.tiers == (PriceTier(0.7625),)
    assert (row.region, row.source, row.date) == ("eu-central-1", "AWS price list", "2026-10-01")


def test_tiers_are_in_order_whatever_the_order_of_the_file() -> None:
    row = refresh(some_prices(), "eu-central-1", files()).prices.by_id()["iot.message"]
    assert row.tiers == (PriceTier(1.2, 1e9), PriceTier(0.96, 5e9), PriceTier(0.84))


def test_what_is_free_at_first_is_priced_as_what_comes_after() -> None:
    row = refresh(some_prices(), "eu-central-1", files()).prices.by_id()["dynamodb.storage"]
    assert row.tiers == (PriceTier(0.306),)


def test_an_hourly_price_becomes_a_monthly_one() -> None:
    rows = refresh(some_prices(), "eu-central-1", files()).prices.by_id()
    assert rows["dynamodb.provisioned-write"].tiers[0].usd == pytest.approx(0.000793 * 730)


def test_a_row_that_the_file_lacks_is_kept_and_named() -> None:
    before = some_prices()
    found = refresh(before, "eu-central-1", files())
    kept = {row.id: row.reason for row in found.kept}
    assert found.prices.by_id()["iot.connection"] == before.by_id()["iot.connection"]
    assert "no prices in the file fit" in kept["iot.connection"]
    assert "too large" in kept["network.nat-hour"]


def test_a_row_that_several_prices_fit_is_kept() -> None:
    both = files()
    dynamodb = both["AmazonDynamoDB"]
    dynamodb.products["WRITEIA00000001"].attributes.update(  # type: ignore[attr-defined]
        usagetype="EUC1-WriteRequestUnits", group="DDB-WriteUnits"
    )
    kept = {row.id: row.reason for row in refresh(some_prices(), "x", both).kept}
    assert "2 prices" in kept["dynamodb.write"]


def test_changes_tell_the_price_before_and_after() -> None:
    changes = {change.id: change for change in refresh(some_prices(), "x", files()).changed}
    assert changes["iot.rule"].before == (PriceTier(0.15),)
    assert changes["iot.rule"].after == (PriceTier(0.18),)


def test_a_refreshed_list_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    prices = refresh(some_prices(), "eu-central-1", files()).prices
    path = tmp_path / "prices.json"
    path.write_bytes(encode_prices(prices))
    assert read_prices(path) == prices


def test_a_file_that_is_not_as_documented_is_refused_by_name() -> None:
    with pytest.raises(OfferError, match="AWSIoT is not as documented"):
        read_offer_file("AWSIoT", b'{"products": []}')
    with pytest.raises(OfferError, match="AmazonS3 is that of AWSIoT"):
        read_offer_file("AmazonS3", (OFFERS / "AWSIoT.json").read_bytes())


@pytest.fixture
def price_server() -> Iterator[str]:
    """Serves the files under the paths that AWS documents."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service, tail = self.path.strip("/").split("/", 1)
            path = OFFERS / f"{service}.json"
            found = path.exists() and tail == "current/eu-central-1/index.json"
            self.send_response(200 if found else 404)
            self.end_headers()
            if found:
                self.wfile.write(path.read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_files_are_loaded_by_service_and_region(price_server: str) -> None:
    loaded = load_price_files(services(some_prices()), "eu-central-1", price_server)
    assert sorted(loaded) == sorted(SERVICES)
    assert loaded["AWSIoT"].publication_date == "2026-10-01T12:00:00Z"


def test_a_region_without_a_file_is_one_sentence(price_server: str) -> None:
    with pytest.raises(UserError, match="AWSIoT for nowhere-1 cannot be loaded from AWS"):
        load_price_files(["AWSIoT"], "nowhere-1", price_server)


def test_offline_a_refresh_says_how_to_go_on_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    result = run(tmp_path, "cost", "--devices", "10", "--every", "10", "--refresh")
    assert result.code == 1
    assert "leave out --refresh to use the list that is here" in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / ".penstock").exists()
