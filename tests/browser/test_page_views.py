"""The fleet's charts, groups and types, and devices compared, in a real browser."""

from __future__ import annotations

import csv
import io
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.sync_api import Browser, expect

from tests.harness.charted import (
    ACCENT,
    GAP_MS,
    HOUR,
    charted_dashboard,
    charts_of,
    drawn_at,
    opened,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

NOW = time.time_ns() // 1_000_000
SECOND_LINE = (194, 37, 92)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with charted_dashboard(NOW) as address:
        yield address


def windows_of(url: str, device: str, query: str) -> Any:
    address = f"{url}/api/v1/devices/{device}/windows?limit=1500&{query}"
    with urllib.request.urlopen(address) as answer:
        return orjson.loads(answer.read())["windows"]


def test_the_fleet_page_charts_the_last_hour(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        card = page.get_by_role("region", name="The last hour", exact=True)
        for told in (
            r"Messages a second over the last hour: messages now \d+, least \d+, most 45",
            r"Device to hot store over the last hour: p50 now \d+ ms.*; p99 now \d+ ms",
            r"Devices over the last hour: online now \d+, .*; late now \d+, .*; silent now \d+, ",
            r"Rejected a minute over the last hour: rejected now ",
        ):
            expect(card.get_by_role("img", name=re.compile(told))).to_be_visible()
        expect(card.locator("canvas")).to_have_count(4)
        card.get_by_text("The same as a table").click()
        rows = card.locator("tbody tr")
        expect(rows.nth(319)).to_be_attached()
        assert 320 <= rows.count() <= 350  # an hour less five minutes
        expect(rows.nth(1)).to_contain_text("UTC")


def test_the_charts_of_the_last_hour_leave_out_what_was_not_read(
    browser: Browser, url: str
) -> None:
    with opened(browser, url) as page:
        chart = page.get_by_role("img", name=re.compile("^Messages a second over"))
        expect(chart.locator("canvas")).to_be_visible()
        assert drawn_at(chart, 1 - 37.5 / 60) == 0
        assert drawn_at(chart, 0.8) > 0


def test_a_group_has_its_counts_and_its_values_together(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        page.get_by_label("Search").fill("pump-1")
        page.locator("tr[data-device=pump-1]").get_by_role("link", name="hall-1").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Group hall-1")
        tiles = page.locator("dl.tiles")
        expect(tiles).to_contain_text("of 3")
        expect(tiles).to_contain_text("Never heard1")
        expect(page.get_by_label("Group")).to_have_count(0)
        values = page.get_by_role("region", name="Values", exact=True)
        expect(values).to_contain_text("all 3 devices that are listed below")
        cells = values.locator("tr[data-sum=temperature] td")
        in_celsius = re.compile(r"^[\d.]+ °C$")
        expect(cells).to_have_text(["temperature", "2", *[in_celsius] * 3])
        mean, least, most = (float(one.split()[0]) for one in cells.all_inner_texts()[2:])
        assert least < most
        assert mean == pytest.approx((least + most) / 2, abs=0.001)


def test_a_page_that_is_not_the_whole_group_says_so(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/type/pump") as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Type pump")
        expect(page.locator("dl.tiles")).to_contain_text("of 62")
        values = page.get_by_role("region", name="Values", exact=True)
        expect(values).to_contain_text("the 50 devices on this page, not all 62")
        page.get_by_role("button", name="Next").click()
        expect(values).to_contain_text("the 12 devices on this page, not all 62")


def test_a_link_restores_what_the_fleet_s_page_shows(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        expect(page.locator("tr[data-device]")).to_have_count(50)
        page.get_by_label("Type").select_option("pump")
        page.get_by_label("Status").select_option("silent")
        page.get_by_role("button", name="Last heard").click()
        page.get_by_label("Search").fill("old-0")
        expect(page.locator("tr[data-device]")).to_have_count(4)
        page.get_by_role("checkbox", name="Compare old-02").check()
        link = page.url
    with opened(browser, link) as page:
        expect(page.locator("tr[data-device]")).to_have_count(4)
        expect(page.get_by_label("Type")).to_have_value("pump")
        expect(page.get_by_label("Status")).to_have_value("silent")
        expect(page.get_by_label("Search")).to_have_value("old-0")
        expect(page.locator("th[data-key=last_seen]")).to_have_attribute("aria-sort", "ascending")
        expect(page.get_by_role("checkbox", name="Compare old-02")).to_be_checked()


def test_ticked_devices_are_compared_on_one_chart(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        for name in ("pump-1", "pump-2"):
            page.get_by_label("Search").fill(name)
            expect(page.locator("tr[data-device]")).to_have_count(1)
            page.get_by_role("checkbox", name=f"Compare {name}").check()
        page.get_by_role("link", name="Compare 2 devices").click()
        chart = charts_of(page).last
        page.get_by_role("button", name="1 h", exact=True).click()
        expect(page.locator("[data-span]")).to_contain_text("The last 60 min")
        told = re.compile(r"mean of each device.*: pump-1 (2\d\d|30\d), pump-2 3\d\d\.")
        expect(chart).to_have_attribute("aria-label", told)
        expect(chart.locator(".u-legend")).to_contain_text("pump-2")
        gap = 1 - sum(GAP_MS) / 2 / HOUR
        assert drawn_at(chart, gap, ACCENT) == 0
        assert drawn_at(chart, gap, SECOND_LINE) > 0
        assert drawn_at(chart, 0.9, ACCENT) > 0
        page.go_back()
        expect(page.get_by_role("link", name="Compare 2 devices")).to_be_visible()


def test_the_mean_of_all_is_weighted_by_readings(browser: Browser, url: str) -> None:
    span = f"from={NOW - HOUR}&to={NOW}&tier=1m"
    with opened(browser, f"{url}/#/compare?devices=pump-1%2Cpump-2&{span}") as page:
        charts_of(page)
        page.get_by_role("button", name="Mean and range of all").click()
        expect(charts_of(page).last).to_have_attribute("aria-label", re.compile("together"))
        with page.expect_download() as waiting:
            page.get_by_role("button", name="CSV of temperature").click()
        rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))
        link = page.url
    held: dict[str, list[Any]] = {}
    for device in ("pump-1", "pump-2"):
        for one in windows_of(url, device, span):
            held.setdefault(one["start"], []).append(one["metrics"]["temperature"])
    assert [one["window_start_utc"].replace(".000Z", "Z") for one in rows] == sorted(held)
    assert {len(one) for one in held.values()} == {1, 2}
    for row in rows:
        parts = held[row["window_start_utc"].replace(".000Z", "Z")]
        readings = sum(one["n"] for one in parts)
        mean = sum(one["mean"] * one["n"] for one in parts) / readings
        squares = sum(one["n"] * (one["stddev"] ** 2 + one["mean"] ** 2) for one in parts)
        assert int(row["n"]) == readings
        assert float(row["mean"]) == pytest.approx(mean)
        assert float(row["stddev"]) == pytest.approx((squares / readings - mean**2) ** 0.5)
        assert float(row["min"]) == min(one["min"] for one in parts)
        assert float(row["max"]) == max(one["max"] for one in parts)
    with opened(browser, link) as page:
        expect(charts_of(page).last).to_have_attribute("aria-label", re.compile("together"))


def test_devices_are_added_and_removed_and_an_unknown_one_is_said(
    browser: Browser, url: str
) -> None:
    with opened(browser, f"{url}/#/compare?devices=pump-1%2Cnobody") as page:
        expect(page.get_by_text("there is no device nobody")).to_be_visible()
        names = page.locator(".chips a")
        expect(names).to_have_text(["pump-1"])
        charts_of(page)
        page.get_by_label("Add a device").fill("meter-1")
        page.keyboard.press("Enter")
        expect(names).to_have_text(["pump-1", "meter-1"])
        expect(charts_of(page).first.locator(".u-legend")).to_contain_text("meter-1")
        page.get_by_role("button", name="Remove pump-1").click()
        expect(names).to_have_text(["meter-1"])
        expect(page.get_by_role("button", name="Remove meter-1")).to_be_focused()
        assert page.url.endswith("#/compare?devices=meter-1")
        page.get_by_role("button", name="Remove meter-1").click()
        expect(page.get_by_text("Add a device to begin.")).to_be_visible()


def test_no_more_devices_can_be_ticked_than_a_chart_shows(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/group/hall-2") as page:
        boxes = page.get_by_role("checkbox")
        expect(boxes).to_have_count(50)
        for number in range(8):
            boxes.nth(number).check()
        expect(page.get_by_text("8 devices fit on one chart.")).to_be_visible()
        expect(boxes.nth(8)).to_be_disabled()
        page.get_by_role("button", name="Untick all").click()
        expect(boxes.nth(8)).to_be_enabled()
        page.get_by_role("link", name="Chart of the first 8 devices, and of their mean").click()
        expect(page.locator(".chips li")).to_have_count(8)
        expect(page.get_by_label("Add a device")).to_be_hidden()
