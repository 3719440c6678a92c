"""The page in a real browser, against the full local stack."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Up, _line
from tests.harness.command import run, start
from tests.harness.processes import await_value

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

HOSTILE = "<img src=x onerror=document.title='owned'>"
IMAGES = Path(__file__).parents[2] / "docs" / "images"


@pytest.fixture(scope="module")
def load(up: Up) -> Iterator[None]:
    """Twelve devices that publish while the tests look, and some garbage."""
    process = start(up.folder, "simulate", "--devices", "12", "--rate", "2", "--seconds", "90",
                    "--garbage", "5", "--no-verify")  # fmt: skip
    yield
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture
def page(browser: Browser, up: Up, load: None) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(up.url)
    yield opened
    context.close()
    assert errors == []


def test_devices_appear_and_their_values_move(page: Page) -> None:
    expect(page.locator("tbody tr[data-device]")).to_have_count(12, timeout=30_000)
    expect(page.locator("#connection")).to_have_text("live")
    values = page.locator("tbody tr[data-device] .values").first
    before = values.inner_text()
    expect(values).not_to_have_text(before, timeout=10_000)
    expect(page.locator(".tile").first).to_contain_text("of 12")


def test_what_has_the_focus_keeps_it_while_values_move(page: Page) -> None:
    row = page.locator("tbody tr[data-device]").first
    expect(row).to_be_visible(timeout=30_000)
    before = row.locator(".values").inner_text()
    row.get_by_role("checkbox").focus()
    expect(row.locator(".values")).not_to_have_text(before, timeout=10_000)
    expect(row.get_by_role("checkbox")).to_be_focused()


def test_search_filters_and_sorting_work(page: Page) -> None:
    expect(page.locator("tbody tr[data-device]")).to_have_count(12, timeout=30_000)
    page.get_by_label("Search").fill("-003")
    expect(page.locator("tbody tr[data-device]")).to_have_count(1)
    page.get_by_label("Search").fill("no such device")
    expect(page.locator("tbody")).to_contain_text("No device matches.")
    page.get_by_label("Search").fill("")
    page.get_by_label("Type").select_option("pump")
    expect(page.locator("tbody tr[data-device]")).to_have_count(4)
    page.get_by_label("Type").select_option("")
    expect(page.locator("tbody tr[data-device]")).to_have_count(12)
    heading = page.locator("th[data-key=device]")
    expect(heading).to_have_attribute("aria-sort", "ascending")
    first = page.locator("tbody tr[data-device]").first.get_attribute("data-device")
    page.get_by_role("button", name="Device", exact=True).click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    expect(page.locator("tbody tr[data-device]").last).to_have_attribute("data-device", first or "")


def test_a_device_s_page_draws_and_grows(page: Page) -> None:
    page.locator("tbody a").first.click()
    expect(page.locator("section[data-metric] canvas").first).to_be_visible(timeout=15_000)
    assert page.locator("section[data-metric]").count() == 3
    chart = page.get_by_role("img").first
    before = chart.get_attribute("aria-label") or ""
    expect(chart).not_to_have_attribute("aria-label", before, timeout=20_000)  # a new window
    page.get_by_text("The same as a table").first.click()
    expect(page.locator("details[open] tbody tr").first).to_be_visible()
    expect(page.get_by_role("heading", name="Completeness")).to_be_visible()
    page.get_by_role("button", name="1m", exact=True).click()
    expect(page.get_by_role("button", name="1m", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )


def test_a_chart_covers_the_chosen_span_and_zooms_into_a_part_of_it(page: Page) -> None:
    page.locator("tbody a").first.click()
    charts = page.locator("section[data-metric] .chart")
    expect(charts).to_have_count(3, timeout=15_000)
    for chart in charts.all():
        expect(chart).to_have_attribute("data-seconds", "600")
    plot = charts.first.locator(".u-over")
    box = plot.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 4, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, y, steps=5)
    page.mouse.up()
    for chart in charts.all():
        expect(chart).to_have_attribute("data-seconds", re.compile(r"^1[3-6]\d$"))
    plot.dblclick()
    expect(charts.last).to_have_attribute("data-seconds", "600")
    page.get_by_role("button", name="1 h", exact=True).click()
    expect(charts.last).to_have_attribute("data-seconds", "3600", timeout=15_000)


def test_the_stream_s_page_shows_shards_and_rejects(page: Page) -> None:
    page.get_by_role("link", name="Stream").click()
    expect(page.locator("td", has_text=re.compile(r"^shardId-\d+$"))).to_have_count(
        2, timeout=15_000
    )
    expect(page.locator("td", has_text="malformed").first).to_be_visible(timeout=30_000)


def test_an_unknown_device_is_said_in_a_sentence(page: Page, up: Up) -> None:
    page.goto(f"{up.url}/#/device/nobody")
    expect(page.get_by_role("alert")).to_have_text("there is no device nobody")


def test_a_hostile_string_is_shown_as_text(page: Page, up: Up) -> None:
    name = "hostile-1"
    up.client("dynamodb").put_item(
        TableName=up.stack.settings["stack"] + "-devices",
        Item={"device": {"S": name}, "ver": {"N": "1"},
              "group": {"S": HOSTILE}, "type": {"S": HOSTILE}},
    )  # fmt: skip
    page.get_by_label("Search").fill(name)
    row = page.locator(f"tr[data-device={name}]")
    expect(row).to_contain_text(HOSTILE, timeout=15_000)
    assert page.locator("td img").count() == 0
    page.locator("tbody a").first.click()
    expect(page.locator(".lead")).to_contain_text(HOSTILE)
    assert page.title() == "Penstock"


def test_the_live_stream_survives_a_restart_of_the_server(
    browser: Browser, up: Up, load: None
) -> None:
    port = _free_port()
    server = start(up.folder, "dashboard", "--port", str(port))
    url = _line(server, r"(http://\S+);")
    page = browser.new_page()
    try:
        await_value(lambda: _answers(port), 30, "the server")
        page.goto(url)
        expect(page.locator("#connection")).to_have_text("live", timeout=15_000)
        server.terminate()
        assert server.wait(30) == 0
        expect(page.locator("#connection")).to_have_attribute("data-state", "lost", timeout=15_000)
        expect(page.locator("#connection")).to_contain_text("lost")
        server = start(up.folder, "dashboard", "--port", str(port))
        expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=30_000)
        first = page.locator("tbody tr[data-device]").first
        expect(first).to_be_visible()
    finally:
        page.close()
        server.terminate()
        server.communicate(timeout=30)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_it_fits_both_widths_in_both_schemes(
    browser: Browser, up: Up, load: None, scheme: str, width: int, tmp_path: Path
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.goto(up.url)
    expect(page.locator("tbody tr[data-device]").first).to_be_visible(timeout=30_000)
    folder = IMAGES if os.environ.get("PENSTOCK_SCREENSHOTS") else tmp_path
    link = page.locator("tbody a", has_text="sim-").first.get_attribute("href") or ""
    for name, address in (("fleet", "#/"), ("stream", "#/stream"), ("device", link)):
        page.goto(f"{up.url}/{address}")
        expect(page.locator("tbody tr").first).to_be_visible(timeout=15_000)
        if name == "device":
            expect(page.locator("section[data-metric] canvas").first).to_be_visible()
            expect(page.get_by_text("Sequence numbers by boot")).to_be_visible(timeout=15_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=folder / f"{name}-{scheme}-{width}.png")
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
    context.close()


def test_it_can_be_used_by_keyboard_alone(page: Page) -> None:
    expect(page.locator("tbody a").first).to_be_visible(timeout=30_000)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('tbody') !== null"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Fleet")


def test_a_public_address_without_a_token_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "dashboard", "--host", "0.0.0.0")
    assert done.code == 1
    assert "set a token" in done.err


def _answers(port: int) -> bool | None:
    with socket.socket() as probe:
        return True if probe.connect_ex(("127.0.0.1", port)) == 0 else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
