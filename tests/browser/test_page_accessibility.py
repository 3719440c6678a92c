"""Who cannot see the page well, or uses no mouse: axe-core's rules, and the keyboard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.harness.charted import charted_dashboard, charts_of, opened

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


def fleet(page: Page) -> None:
    expect(page.locator("tr[data-device]").first).to_be_visible()
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("region", name="The last hour as a table")).to_be_visible()


def group(page: Page) -> None:
    page.locator("tr[data-device]").first.wait_for()
    page.get_by_role("checkbox").first.check()
    expect(page.locator("tr[data-sum]").first).to_be_visible()


def device(page: Page) -> None:
    charts_of(page)
    page.get_by_text("The same as a table").first.click()
    expect(page.get_by_text("Sequence numbers by boot")).to_be_visible()
    expect(page.get_by_text("the charts show them as bands")).to_be_visible()


def compare(page: Page) -> None:
    charts_of(page)


def stream(page: Page) -> None:
    expect(page.get_by_text("shard-0")).to_be_visible()


def alerts(page: Page) -> None:
    expect(page.locator("ul.alerts li")).to_have_count(1)


def history(page: Page) -> None:
    expect(page.locator("tbody tr").first).to_be_visible()


def dialog(page: Page) -> None:
    page.get_by_role("button", name="Mute").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()


def failure(page: Page) -> None:
    expect(page.get_by_role("alert")).to_be_visible()


VIEWS: Final[dict[str, tuple[str, Callable[[Page], None]]]] = {
    "fleet": ("", fleet),
    "group": ("group/hall-1", group),
    "device": ("device/pump-1", device),
    "device in the past": ("device/pump-1?from=1795000000000&to=1795003600000", lambda _: None),
    "compare": ("compare?devices=pump-1%2Cpump-2%2Cmeter-1", compare),
    "compare nothing": ("compare", lambda _: None),
    "stream": ("stream", stream),
    "alerts": ("alerts", alerts),
    "history of alerts": ("alerts?tab=history", history),
    "an act": ("alerts", dialog),
    "a failure": ("device/nobody", failure),
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with charted_dashboard(time.time_ns() // 1_000_000) as address:
        yield address


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_violation(
    browser: Browser, url: str, view: str, width: int, scheme: str
) -> None:
    address, ready = VIEWS[view]
    size = {"width": width, "height": 900}
    with opened(browser, f"{url}/#/{address}", viewport=size, color_scheme=scheme) as page:
        expect(page.locator("#connection")).to_have_text("live", timeout=15_000)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        ready(page)
        found = Axe().run(page).response["violations"]
        said = [(one["id"], [node["target"] for node in one["nodes"]][:4]) for one in found]
        assert said == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_finds_what_is_wrong(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        page.locator("tr[data-device]").first.wait_for()
        page.evaluate("document.querySelector('.pick input').removeAttribute('aria-label')")
        assert [one["id"] for one in Axe().run(page).response["violations"]] == ["label"]


def test_the_charts_are_used_by_keyboard_alone(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/device/pump-1") as page:
        charts = charts_of(page)
        tab_to(page, "1 h")
        page.keyboard.press("Enter")
        expect(charts.first).to_have_attribute("data-seconds", "3600")
        expect(page.locator("[data-span]")).to_contain_text("windows of 10s")
        expect(page.get_by_role("button", name="1 h", exact=True)).to_be_focused()
        tab_to(page, "Zoom in")
        page.keyboard.press("Space")
        expect(charts.first).to_have_attribute("data-seconds", "1800")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Earlier")).to_be_focused()
        tab_to(page, "Back to live")
        page.keyboard.press("Enter")
        expect(page.locator("[data-span]")).to_contain_text("live")
        assert page.evaluate("document.activeElement.closest('[aria-label=Span]') !== null")
        tab_to(page, "humidity")
        page.keyboard.press("Space")
        expect(charts).to_have_count(1)
        expect(page.get_by_role("checkbox", name="humidity")).to_be_focused()
        tab_to(page, "The same as a table")
        page.keyboard.press("Enter")
        expect(page.locator("details[open] tbody tr").first).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has this name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
                const one = document.activeElement;
                return one.getAttribute("aria-label") ?? (one.labels?.[0] ?? one).textContent;
            }"""
        )
        if focused == name:
            return
    raise AssertionError(f"Tab does not reach {name}")


def test_devices_are_compared_by_keyboard_alone(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/?search=pump-") as page:
        expect(page.locator("tr[data-device]")).to_have_count(2)
        for name in ("Compare pump-1", "Compare pump-2"):
            tab_to(page, name)
            page.keyboard.press("Space")
        expect(page.get_by_role("checkbox", name="Compare pump-2")).to_be_focused()
        page.get_by_text("Skip to content").focus()
        tab_to(page, "Compare 2 devices")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Compare devices")
        expect(page.locator("main")).to_be_focused()
