"""The charts of a device's page in a real browser, over windows that are known."""

from __future__ import annotations

import csv
import io
import re
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import matplotlib.image
import orjson
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

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


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with charted_dashboard(NOW) as address:
        yield address


def span_of(page: Page) -> str:
    return page.locator("[data-span]").inner_text()


def drag(page: Page, chart: Locator, start: float, end: float, *, shift: bool = False) -> None:
    """From one share of the plot's width to another."""
    box = chart.locator(".u-over").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    if shift:
        page.keyboard.down("Shift")
    page.mouse.move(box["x"] + box["width"] * start, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, y, steps=5)
    page.mouse.up()
    if shift:
        page.keyboard.up("Shift")


def test_times_are_by_the_chosen_clock_which_lasts(browser: Browser, url: str) -> None:
    address = f"{url}/#/device/pump-1"
    with opened(browser, address, timezone_id="Asia/Kolkata") as page:
        received = page.locator("dt:text-is('received') + dd")
        expect(received).to_have_text(f"{datetime.fromtimestamp(NOW // 1000, UTC):%F %T} UTC")
        expect(page.locator("[data-span]")).to_contain_text("UTC, as in commands and files")
        page.get_by_role("button", name="UTC: times are UTC").click()
        there = datetime.fromtimestamp(NOW // 1000 + 19_800, UTC)
        expect(received).to_have_text(f"{there:%F %T} UTC+05:30")
        expect(page.locator("[data-span]")).to_contain_text(
            "this browser's, UTC+05:30; commands and files have UTC"
        )
        charts_of(page).first.locator(".u-over").hover()
        under = page.locator(".u-legend .u-series").first.locator(".u-value")
        expect(under).to_contain_text("UTC+05:30")
        page.reload()
        expect(received).to_contain_text("UTC+05:30")


def test_the_axis_is_the_chosen_span_and_not_what_is_there(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/device/pump-1") as page:
        charts = charts_of(page)
        for name, seconds in (("1 h", 3600), ("7 d", 604_800), ("6 h", 21_600)):
            page.get_by_role("button", name=name, exact=True).click()
            for chart in charts.all():
                expect(chart).to_have_attribute("data-seconds", str(seconds))


def test_a_link_restores_the_view(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/device/pump-1") as page:
        charts = charts_of(page)
        page.get_by_role("button", name="1 h", exact=True).click()
        page.get_by_role("button", name="1m", exact=True).click()
        page.get_by_role("checkbox", name="humidity").uncheck()
        expect(charts).to_have_count(1)
        drag(page, charts.first, 0.5, 0.9)
        expect(charts.first).to_have_attribute("data-seconds", re.compile(r"^14\d\d$"))
        seconds = charts.first.get_attribute("data-seconds") or ""
        expect(page.locator("[data-span]")).to_contain_text("windows of 1m")
        said, link = span_of(page), page.url
    with opened(browser, link) as page:
        charts = charts_of(page, 1)
        expect(charts.first).to_have_attribute("data-seconds", seconds)
        expect(page.get_by_role("button", name="1m", exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        expect(page.get_by_role("checkbox", name="humidity")).not_to_be_checked()
        assert span_of(page) == said
        page.get_by_role("button", name="Back to live").click()
        expect(charts.first).to_have_attribute("data-seconds", "3600")


@pytest.mark.parametrize(
    "wrong", ["span=-5", "span=1e99", "from=5&to=3", "span=x", "metrics=none", "from=9e15&to=9e18"]
)
def test_a_link_that_no_chart_can_show_shows_the_whole_device(
    browser: Browser, url: str, wrong: str
) -> None:
    with opened(browser, f"{url}/#/device/pump-1?{wrong}") as page:
        expect(charts_of(page).first).to_have_attribute("data-seconds", "600")


def test_the_selection_of_metrics_lasts_for_devices_of_a_type(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/device/pump-1") as page:
        charts_of(page)
        page.get_by_role("checkbox", name="humidity").uncheck()
        charts_of(page, 1)
        page.goto(f"{url}/#/device/pump-2")
        expect(page.get_by_role("heading", level=1)).to_have_text("pump-2")
        charts_of(page, 1)
        expect(page.get_by_role("checkbox", name="temperature")).to_be_disabled()
        page.goto(f"{url}/#/device/meter-1")
        expect(page.get_by_role("heading", level=1)).to_have_text("meter-1")
        charts_of(page, 2)


def test_zoom_loads_the_finer_windows_and_a_double_click_the_whole_span(
    browser: Browser, url: str
) -> None:
    asked: list[str] = []
    with opened(browser, f"{url}/#/device/pump-1") as page:
        page.on("request", lambda request: asked.append(request.url))
        charts = charts_of(page)
        page.get_by_role("button", name="6 h", exact=True).click()
        expect(page.locator("[data-span]")).to_contain_text("windows of 1m")
        asked.clear()
        drag(page, charts.first, 0.8, 0.95)
        expect(page.locator("[data-span]")).to_contain_text("windows of 10s")
        assert any("/windows?tier=10s" in one for one in asked)
        for chart in charts.all():
            expect(chart).to_have_attribute("data-seconds", re.compile(r"^3[12]\d\d$"))
            expect(chart).to_have_attribute("aria-label", re.compile(r"(2\d\d|3\d\d) windows of"))
        charts.first.locator(".u-over").dblclick()
        expect(charts.first).to_have_attribute("data-seconds", "21600")
        expect(page.locator("[data-span]")).to_contain_text("The last 6 h, live")


def test_a_drag_with_shift_moves_the_span_and_keeps_its_length(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/device/pump-1") as page:
        charts = charts_of(page)
        drag(page, charts.first, 0.3, 0.8, shift=True)
        for chart in charts.all():
            expect(chart).to_have_attribute("data-seconds", "600")
        expect(page.locator("[data-span]")).not_to_contain_text("live ·")
        moved = re.search(r"from=(\d+)", page.url)
        assert moved is not None
        assert abs(int(moved[1]) - (time.time() * 1000 - 900_000)) < 60_000
        page.get_by_role("button", name="Later").click()
        page.get_by_role("button", name="Later").click()
        expect(page.locator("[data-span]")).to_contain_text("The last 10 min, live")
        page.get_by_role("button", name="Zoom out").click()
        expect(charts.first).to_have_attribute("data-seconds", "1200")


def test_a_gap_is_drawn_as_a_gap(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/device/pump-1?from={NOW - HOUR}&to={NOW}") as page:
        chart = charts_of(page).first
        expect(chart).to_have_attribute("aria-label", re.compile(r"3\d\d windows of 10s, 1 gap\."))
        gap = 1 - sum(GAP_MS) / 2 / HOUR
        assert drawn_at(chart, gap) == 0
        for elsewhere in (0.3, 0.9):
            assert drawn_at(chart, elsewhere) > 0
        page.goto(f"{url}/#/device/pump-2?from={NOW - HOUR}&to={NOW}")
        expect(chart).to_have_attribute("aria-label", re.compile("361 windows of 10s, 0 gaps"))
        assert drawn_at(chart, gap) > 0


def test_the_csv_holds_what_the_chart_shows(browser: Browser, url: str) -> None:
    start, end = NOW - HOUR, NOW
    with opened(browser, f"{url}/#/device/pump-1?from={start}&to={end}&tier=1m") as page:
        said = charts_of(page).last.get_attribute("aria-label") or ""
        with page.expect_download() as waiting:
            page.get_by_role("button", name="CSV of temperature").click()
        assert waiting.value.suggested_filename == "pump-1-temperature.csv"
        rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))
    query = f"tier=1m&from={start}&to={end}&limit=1500"
    with urllib.request.urlopen(f"{url}/api/v1/devices/pump-1/windows?{query}") as answer:
        windows = orjson.loads(answer.read())["windows"]
    assert f"{len(rows)} windows of 1m" in said
    assert 45 <= len(rows) <= 52  # an hour less the gap
    assert [one["window_start_utc"].replace(".000Z", "Z") for one in rows] == [
        one["start"] for one in windows
    ]
    for row, window in zip(rows, windows, strict=True):
        held = window["metrics"]["temperature"]
        assert {name: float(row[name]) for name in held} == held
        assert (row["device"], row["tier"], row["metric"]) == ("pump-1", "1m", "temperature")


def test_the_png_is_the_chart_under_its_title(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/device/pump-1?from={NOW - HOUR}&to={NOW}") as page:
        canvas = charts_of(page).last.locator("canvas")
        shown = canvas.evaluate("one => [one.width, one.height]")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="PNG of temperature").click()
        assert waiting.value.suggested_filename == "temperature-C-UTC.png"
        picture = matplotlib.image.imread(waiting.value.path(), format="png")
    assert picture.shape[1] > shown[0]
    assert picture.shape[0] > shown[1] + 40
    line = (abs(picture[:, :, :3] * 255 - ACCENT) < 4).all(axis=2)
    assert line.sum() > shown[0] / 2


def test_completeness_says_what_is_exact_and_what_is_late(browser: Browser, url: str) -> None:
    span = f"from={NOW - HOUR}&to={NOW}"
    with opened(browser, f"{url}/#/device/pump-1?{span}") as page:
        card = page.get_by_role("region", name="Completeness")
        missing = (GAP_MS[0] - GAP_MS[1]) // 10_000 * 3
        expect(card).to_contain_text(f"late: {missing} missing")
        page.goto(f"{url}/#/device/pump-2?{span}")
        expect(card).to_contain_text("exact")
        expect(card).to_contain_text("1,083 readings")
        page.goto(f"{url}/#/device/never?{span}")
        expect(card).to_contain_text("no readings")
