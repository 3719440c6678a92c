"""Commands on a device's page, in a real browser: sent by an operator, seen by a viewer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from dashboard.http.access import Access, SharedToken
from dashboard.http.api import create_app
from dashboard.http.server import HOST, BackgroundServer, listen
from ingest.commands.command import Outcome, entry_of
from ingest.commands.document import KEY, answering
from ingest.tiers import LOCAL_TIERS
from tests.browser.test_page_roles import WORLD, entered
from tests.harness.tables import Tables
from tests.harness.tenants import PEOPLE, UNITS, feed_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture
def tables() -> Tables:
    made = Tables()
    WORLD.fill(made)
    return made


@pytest.fixture
def url(tables: Tables) -> Iterator[str]:
    access = Access(tokens=tuple(SharedToken(*one) for one in PEOPLE.items()))
    app = create_app(feed_of(tables), LOCAL_TIERS, access, UNITS)
    with BackgroundServer(app, listen(HOST, 0)) as server:
        yield server.url


def test_an_operator_sends_a_command_and_sees_what_becomes_of_it(
    browser: Browser, url: str, tables: Tables
) -> None:
    with entered(browser, url, "red-operator") as page:
        page.goto(f"{url}/#/device/red-1")
        card = page.get_by_role("region", name="Commands")
        expect(card).to_contain_text("No command to this device is known")
        card.get_by_role("button", name="Send a command").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Command", exact=True).fill("open-valve")
        dialog.get_by_label("Arguments").fill("percent=60 slowly")
        dialog.get_by_role("button", name="Send").click()
        expect(dialog.get_by_role("alert")).to_contain_text("write an argument as name=value")
        dialog.get_by_label("Arguments").fill("percent=60 slowly=true why=<b>leak</b>")
        dialog.get_by_role("button", name="Send").click()
        expect(dialog).to_have_count(0)
        row = card.locator("tbody tr")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("open-valve percent=60 slowly=true why=<b>leak</b>")
        expect(row).to_contain_text("CREATED")
        expect(row).to_contain_text("red@example")
        shadow = tables.shadows.shadow("red-1")
        ((id_, sent),) = shadow.state["desired"][KEY].items()
        assert sent["args"] == {"percent": 60, "slowly": True, "why": "<b>leak</b>"}
        entry = entry_of(sent, Outcome("SUCCEEDED", sent["at"] + 5, "open by 60 %"))
        shadow.update(answering({}, id_, entry))
        expect(row).to_contain_text("SUCCEEDED")
        expect(row).to_contain_text("open by 60 %")


def test_a_viewer_sees_commands_and_no_button(browser: Browser, url: str, tables: Tables) -> None:
    sent = {"name": "blink", "at": 1, "until": 60_001, "by": "kim"}
    tables.shadows.shadow("red-2").update({"desired": {KEY: {"command-1": sent}}})
    with entered(browser, url, "red-viewer") as page:
        page.goto(f"{url}/#/device/red-2")
        card = page.get_by_role("region", name="Commands")
        expect(card.locator("tbody tr")).to_contain_text("TIMED_OUT")
        expect(card.get_by_role("button")).to_have_count(0)


def test_the_card_needs_no_more_width_than_a_phone_has(
    browser: Browser, url: str, tables: Tables
) -> None:
    sent = {"name": "blink", "at": 1, "until": 60_001, "by": "kim", "args": {"a": "x" * 200}}
    tables.shadows.shadow("red-2").update({"desired": {KEY: {"command-1": sent}}})
    with entered(browser, url, "red-operator") as page:
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(f"{url}/#/device/red-2")
        expect(page.get_by_role("region", name="Commands").locator("tbody tr")).to_have_count(1)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360
