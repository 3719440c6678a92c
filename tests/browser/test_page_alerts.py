"""The page of alerts in a real browser, over the full local stack with a rule that fires."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from ingest.tables.alarms import COLUMNS, DeviceAlarms, Entry, RuleState
from tests.browser.conftest import Up
from tests.browser.test_page import IMAGES
from tests.harness.command import run, start
from tests.harness.processes import await_value

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

RULES = """
[[rule]]
name = "too-many"
devices = {devices}
tier = "10s"
when = "n() > 0"
severity = "critical"
summary = "{{device}} sent {{value}} readings"
"""
DEVICES = 4


def ask(up: Up, path: str) -> Any:
    with urllib.request.urlopen(f"{up.url}/api/v1/{path}") as answer:
        return json.load(answer)


def store(up: Up, device: str, *entries: Entry) -> None:
    """An alert as a worker records it, of a device that no rule watches."""
    alarms = DeviceAlarms(device)
    alarms.states["too-cold"] = RuleState(
        list(entries), severity="warning", text=f"{device} is at 2.5 °C"
    )
    values = dict(zip(COLUMNS, alarms.values(time.time_ns() // 1_000_000), strict=True))
    up.client("dynamodb").put_item(
        TableName=up.stack.settings["stack"] + "-alerts",
        Item={"device": {"S": device}, "ver": {"N": "1"}, **values},
    )


@pytest.fixture(scope="module")
def devices(up: Up) -> Iterator[list[str]]:
    """Devices that publish. A rule is met by all but the last; the last has a stored history."""
    earlier = set(_online(up))  # devices of other tests may still be fading
    process = start(up.folder, "simulate", "--devices", str(DEVICES), "--rate", "2",
                    "--seconds", "150", "--no-verify")  # fmt: skip
    try:
        names = await_value(lambda: _appeared(up, earlier), 60, "devices")
        (up.folder / "alerts").mkdir(exist_ok=True)
        text = RULES.format(devices=json.dumps(names[:-1]))
        (up.folder / "alerts" / "page.toml").write_text(text)
        assert run(up.folder, "alert", "apply").code == 0
        await_value(lambda: len(ask(up, "alerts")["alerts"]) >= DEVICES - 1 or None, 60, "alerts")
        now = time.time_ns() // 1_000_000
        store(up, names[-1], Entry(now - 300_000, "raised"), Entry(now - 120_000, "cleared"))
        yield names
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _online(up: Up) -> list[str]:
    return [one["device"] for one in ask(up, "devices?status=online&search=sim-")["devices"]]


def _appeared(up: Up, earlier: set[str]) -> list[str] | None:
    names = [name for name in _online(up) if name not in earlier]
    return names if len(names) == DEVICES else None


@pytest.fixture
def page(browser: Browser, up: Up, devices: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(f"{up.url}/#/alerts")
    yield opened
    context.close()
    assert errors == []


def test_an_alert_is_acknowledged_under_a_name_and_other_viewers_see_it(
    page: Page, browser: Browser, up: Up, devices: list[str]
) -> None:
    row = page.locator(f'li[data-alert="too-many {devices[0]}"]')
    expect(row).to_contain_text("critical", timeout=15_000)
    expect(row).to_contain_text("open, not acknowledged")
    other = browser.new_page()
    other.goto(f"{up.url}/#/alerts")
    elsewhere = other.locator(f'li[data-alert="too-many {devices[0]}"]')
    expect(elsewhere).to_contain_text("not acknowledged", timeout=15_000)
    row.get_by_role("button", name="Acknowledge").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Acknowledge too-many on {devices[0]}?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(row).to_contain_text("open, not acknowledged")
    row.get_by_role("button", name="Acknowledge").click()
    dialog.get_by_label("Your name").fill("Kim")
    page.keyboard.press("Enter")
    expect(row).to_contain_text("acknowledged by Kim")
    expect(page.get_by_text(f"Acknowledged by Kim: too-many on {devices[0]}")).to_be_visible()
    expect(elsewhere).to_contain_text("acknowledged by Kim", timeout=10_000)  # by the live stream
    expect(row.get_by_role("button", name="Acknowledge")).to_have_count(0)
    other.close()
    row.get_by_role("link", name="History").click()
    history = page.locator("tbody tr", has_text=devices[0])
    expect(history.filter(has_text="acknowledged by Kim")).to_have_count(1, timeout=15_000)
    expect(history.filter(has_text="raised")).to_have_count(1)


def test_an_alert_is_muted_and_unmuted(page: Page, devices: list[str]) -> None:
    row = page.locator(f'li[data-alert="too-many {devices[1]}"]')
    row.get_by_role("button", name="Mute", exact=False).first.click(timeout=15_000)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Your name").fill("Lee")
    dialog.get_by_label("For").select_option(label="1 day")
    dialog.get_by_role("button", name="Mute").click()
    expect(row).to_contain_text("muted until")
    row.get_by_role("button", name="Unmute").click()
    page.get_by_role("dialog").get_by_role("button", name="Unmute").click()
    expect(row).not_to_contain_text("muted until")


def test_a_refusal_is_said_in_the_dialog(page: Page, up: Up, devices: list[str]) -> None:
    row = page.locator(f'li[data-alert="too-many {devices[2]}"]')
    row.get_by_role("button", name="Acknowledge").click(timeout=15_000)
    assert run(up.folder, "alert", "ack", "too-many", devices[2], "--by", "ana").code == 0
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Your name").fill("Kim")
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(dialog.get_by_role("alert")).to_have_text("ana has acknowledged it already")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(row).to_contain_text("acknowledged by ana")


def test_links_between_history_and_device_hold_the_view(page: Page, devices: list[str]) -> None:
    page.get_by_role("button", name="History").click()
    page.get_by_label("Severity").select_option("warning")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2, timeout=15_000)
    expect(rows.first).to_contain_text("cleared")
    address = page.url
    rows.first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(devices[-1])
    alerts = page.locator("section", has=page.get_by_role("heading", name="Alerts"))
    expect(alerts).to_contain_text("too-cold", timeout=15_000)
    chart = page.locator("section[data-metric] .chart").first
    expect(chart).to_have_attribute(
        "aria-label", re.compile("warning alert too-cold from .* to "), timeout=15_000
    )
    page.get_by_role("link", name="← Alerts").click()
    expect(page).to_have_url(address)
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.get_by_label("Severity")).to_have_value("warning")
    page.get_by_label("Rule").fill("no-such-rule")
    page.keyboard.press("Tab")
    expect(page.get_by_text("No alert matches.")).to_be_visible()


def test_a_failure_is_said_and_everything_is_in_reach_of_the_keyboard(
    page: Page, devices: list[str]
) -> None:
    expect(page.locator("ul.alerts li").first).to_be_visible(timeout=15_000)
    page.get_by_role("button", name=f"Mute too-many on {devices[0]}").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=f"Mute too-many on {devices[0]}")).to_be_focused()
    page.route(
        "**/api/v1/alerts/history?*",
        lambda route: route.fulfill(status=502, json={"error": "the query failed"}),
    )
    page.get_by_role("button", name="History").click()
    expect(page.get_by_role("alert")).to_have_text("the query failed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_each_view_fits_both_widths_in_both_schemes(
    browser: Browser, up: Up, devices: list[str], scheme: str, width: int, tmp_path: Path
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    folder = IMAGES if os.environ.get("PENSTOCK_SCREENSHOTS") else tmp_path
    page.goto(f"{up.url}/#/alerts")
    expect(page.locator("ul.alerts li").first).to_be_visible(timeout=15_000)
    at = time.time_ns() // 1_000_000 - 500_000
    shots = [
        ("alerts", ""),
        ("alerts-history", "#/alerts?tab=history"),
        ("alerts-device", f"#/device/{devices[-1]}?at={at}"),
    ]
    for name, address in shots:
        if address:
            page.goto(f"{up.url}/{address}")
            expect(page.locator("tbody tr").first).to_be_visible(timeout=15_000)
        if name == "alerts-device":
            expect(page.locator("section[data-metric] canvas").first).to_be_visible(timeout=15_000)
            expect(page.get_by_text("the charts show them as bands")).to_be_visible(timeout=15_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=folder / f"{name}-{scheme}-{width}.png", full_page=True)
    page.goto(f"{up.url}/#/alerts")
    page.get_by_role("button", name="Mute").first.click(timeout=15_000)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.screenshot(path=folder / f"alerts-dialog-{scheme}-{width}.png")
    context.close()
