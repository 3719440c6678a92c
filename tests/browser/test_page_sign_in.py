"""`penstock up --api` in a real browser: the page on CloudFront, sign-in at Cognito, the API as a
function, each as the embedded AWS has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.harness.command import run, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("browser-api")]

DEVICES = 3


@dataclass
class UpApi:
    """`penstock up --api` in a folder: the page's address, and who may sign in."""

    folder: Path
    url: str
    user: str
    password: str


@pytest.fixture(scope="module")
def up_api(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpApi]:
    folder = tmp_path_factory.mktemp("up-api")
    process = start(folder, "up", "--api", "--port", "0", "--mqtt-port", "0", "--status-port", "0",
                    "--dashboard-port", "0")  # fmt: skip
    assert process.stderr is not None
    try:
        said = next(line for line in process.stderr if "API page" in line).split()
        yield UpApi(folder, said[2], said[6].rstrip(","), said[8].rstrip(")"))
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def devices(up_api: UpApi) -> None:
    done = run(
        up_api.folder, "simulate", "--devices", str(DEVICES), "--seconds", "3", "--no-verify"
    )
    assert done.code == 0, done.err


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context()
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, devices: None) -> Iterator[Page]:
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda one: wrong.append(one.text) if "Policy" in one.text else None)
    yield opened
    assert wrong == []


def sign_in(page: Page, up_api: UpApi, view: str = "") -> None:
    page.goto(f"{up_api.url}{view}")
    page.get_by_label("Username").fill(up_api.user)
    page.get_by_label("Password").fill(up_api.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible(timeout=20_000)


def kept(page: Page) -> Any:
    """The tokens that the page has."""
    return page.evaluate("JSON.parse(sessionStorage.getItem('penstock.tokens'))")


def test_who_signs_in_sees_the_fleet_live_and_no_address_holds_a_token(
    page: Page, up_api: UpApi
) -> None:
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    sign_in(page, up_api)
    expect(page.locator("tr[data-device]")).to_have_count(DEVICES, timeout=20_000)
    expect(page.locator("#connection")).to_have_text("live")
    assert page.url == up_api.url
    assert page.get_by_role("button", name="Sign out").get_attribute("title") == (
        f"Signed in as {up_api.user}"
    )
    token = kept(page)["id"]
    assert not [url for url in asked if token in url or "/api/v1/live" in url]
    assert page.evaluate("localStorage.length") == 0
    with page.expect_response(
        lambda one: "/api/v1/latest" in one.url and one.status == 304, timeout=60_000
    ):
        pass  # the fleet is quiet: what did not change is not sent again


def test_new_values_come_without_a_reload(page: Page, up_api: UpApi) -> None:
    sign_in(page, up_api)
    values = page.locator("tbody tr[data-device] .values").first
    expect(values).not_to_be_empty(timeout=20_000)
    before = values.inner_text()
    process = start(up_api.folder, "simulate", "--devices", str(DEVICES), "--rate", "2",
                    "--seconds", "20", "--no-verify")  # fmt: skip
    try:
        expect(values).not_to_have_text(before, timeout=40_000)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_the_view_that_was_asked_for_is_shown_after_the_sign_in_and_a_reload_asks_nobody(
    page: Page, up_api: UpApi
) -> None:
    sign_in(page, up_api, "#/stream")
    expect(page.get_by_role("heading", name="Stream")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("heading", name="Stream")).to_be_visible()


def test_a_token_that_ends_is_renewed_and_one_that_cannot_be_leads_to_the_sign_in(
    page: Page, up_api: UpApi
) -> None:
    sign_in(page, up_api)
    first = kept(page)
    change = "sessionStorage.setItem('penstock.tokens', JSON.stringify({...%s, ...%s}))"
    stored = "JSON.parse(sessionStorage.getItem('penstock.tokens'))"
    with page.expect_response("**/oauth2/token"):
        page.evaluate(change % (stored, "{until: 0}"))
    page.wait_for_function(f"{stored}.until > Date.now()")
    assert kept(page)["refresh"] == first["refresh"]
    page.evaluate(change % (stored, "{until: 0, refresh: 'x'}"))
    expect(page.get_by_label("Username")).to_be_visible(timeout=20_000)


def test_who_signs_out_is_asked_again_and_the_token_gives_no_other(
    page: Page, up_api: UpApi
) -> None:
    sign_in(page, up_api)
    token, client = (
        kept(page)["refresh"],
        page.evaluate("fetch('config.json').then((one) => one.json()).then((one) => one.sign_in)"),
    )
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Username")).to_be_visible(timeout=20_000)
    again = page.request.post(
        client["token"],
        form={
            "grant_type": "refresh_token", "refresh_token": token,
            "client_id": client["client_id"],
        },
    )  # fmt: skip
    assert again.status == 400


@pytest.mark.parametrize("given", ["code=made-up&state=made-up", "code=made-up"])
def test_a_code_that_this_tab_did_not_ask_for_counts_nothing(
    page: Page, up_api: UpApi, given: str
) -> None:
    page.goto(f"{up_api.url}?{given}")
    expect(page.get_by_label("Username")).to_be_visible(timeout=20_000)


def test_a_refusal_of_the_issuer_is_said_and_not_asked_for_again_by_itself(
    page: Page, up_api: UpApi
) -> None:
    page.goto(f"{up_api.url}?error=access_denied&error_description=not+you")
    expect(page.get_by_role("alert")).to_have_text("the sign-in failed: not you")
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_label("Username")).to_be_visible(timeout=20_000)


def test_tokens_that_the_api_refuses_at_once_are_not_asked_for_again_and_again(
    page: Page, up_api: UpApi
) -> None:
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.route("**/api/v1/**", lambda route: route.fulfill(status=401, json={"error": "not you"}))
    sign_in(page, up_api)
    expect(page.get_by_text("not you")).to_be_visible()
    with page.expect_request("**/api/v1/latest*"):
        pass
    assert len([url for url in asked if "/oauth2/authorize" in url]) == 1
