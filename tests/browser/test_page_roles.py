"""The page in a real browser, as those see it who see one group only, by their role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.http.access import Access, SharedToken
from dashboard.http.api import create_app
from dashboard.http.server import HOST, BackgroundServer, listen
from ingest.tiers import LOCAL_TIERS
from tests.harness.dashboard import NOW
from tests.harness.tables import Tables
from tests.harness.tenants import PEOPLE, UNITS, Thing, World, feed_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

WORLD = World(
    tuple(
        Thing(f"{group}-{n}", group, NOW, 20.0, 3, "open" if n == 1 else "", NOW - 100, 0)
        for group in ("red", "blue")
        for n in (1, 2)
    )
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    tables = Tables()
    WORLD.fill(tables)
    access = Access(tokens=tuple(SharedToken(*one) for one in PEOPLE.items()))
    app = create_app(feed_of(tables), LOCAL_TIERS, access, UNITS)
    with BackgroundServer(app, listen(HOST, 0)) as server:
        yield server.url


@contextmanager
def entered(browser: Browser, url: str, token: str) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{url}/?token={token}")
    yield page
    context.close()
    assert not failures


def test_the_fleet_page_holds_the_own_devices_and_no_figure_of_all_groups(
    browser: Browser, url: str
) -> None:
    with entered(browser, url, "red-viewer") as page:
        expect(page.locator("tr[data-device]")).to_have_count(2)
        expect(page.locator("dl.tiles")).to_contain_text("of 2")
        expect(page.locator("dl.tiles")).not_to_contain_text("Messages")
        assert page.request.get(f"{url}/api/v1/summary/history").json()["points"] == []
        expect(page.locator("body")).not_to_contain_text("blue")
        page.goto(f"{url}/#/device/blue-1")
        expect(page.get_by_role("alert").first).to_have_text("there is no device blue-1")
    with entered(browser, url, "everything") as page:
        expect(page.locator("tr[data-device]")).to_have_count(4)
        expect(page.locator("dl.tiles")).to_contain_text("Messages")
        assert page.request.get(f"{url}/api/v1/summary/history").json()["points"]


@pytest.mark.parametrize(("role", "count"), [("viewer", 0), ("operator", 1)])
def test_a_page_shows_the_acts_that_its_role_may_do(
    browser: Browser, url: str, role: str, count: int
) -> None:
    with entered(browser, url, f"red-{role}") as page:
        page.goto(f"{url}/#/alerts")
        expect(page.get_by_text("red-1 is hot")).to_be_visible()
        expect(page.get_by_text("blue-1 is hot")).to_have_count(0)
        for act in ("Acknowledge", "Mute"):
            expect(page.get_by_role("button", name=re.compile(f"^{act}"))).to_have_count(count)


def test_an_operator_acts_under_the_name_of_the_token(browser: Browser, url: str) -> None:
    with entered(browser, url, "blue-operator") as page:
        page.goto(f"{url}/#/alerts")
        page.get_by_role("button", name="Acknowledge hot on blue-1").click()
        expect(page.get_by_role("dialog")).to_contain_text("As blue@example")
        page.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
        expect(page.locator("body")).to_contain_text("acknowledged by blue@example")


def test_a_page_to_which_no_stream_is_served_is_live_by_polling(browser: Browser, url: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.route("**/api/v1/live*", lambda route: route.fulfill(status=404, json={"error": "none"}))
    page.goto(f"{url}/?token=red-viewer")
    with page.expect_response(lambda one: "/api/v1/latest" in one.url and one.status == 200):
        pass
    with page.expect_response(lambda one: "/api/v1/latest" in one.url and one.status == 304):
        pass
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("tr[data-device]")).to_have_count(2)
    context.close()
