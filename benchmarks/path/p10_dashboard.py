"""P10: the dashboard with 10,000 devices in the table.

The page is opened anew in headless Chromium, with an empty cache, and is interactive when its
table has rows and a search that was typed has changed them. The API answers pages of 100 devices,
each from another place of the fleet, and days of 1-minute windows (1,440 items that DynamoDB
pages), one request after the other.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Progress, Result, Samples, limit, result
from benchmarks.workloads.stand import deployed
from infra.local.dashboard import serve_beside
from infra.target import Target

DEVICES: Final = 10_000
TARGET_S: Final = 1.5
OPENINGS: Final = 7
REQUESTS: Final = 100
DAY_REQUESTS: Final = 20
MINUTES: Final = 1440
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


def run(progress: Progress) -> Result:
    """Fill the tables, then measure API and page."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
        deployed(Path(folder)) as (target, _),
    ):
        progress(f"writing {DEVICES:,} devices and a day of windows …")
        now = time.time_ns() // 1_000_000
        _fill(target, now)
        with serve_beside(target, 0) as server:
            progress("the API …")
            pages = [_seconds(f"{server.url}{_page(i)}") * 1000 for i in range(REQUESTS)]
            day = f"{server.url}/api/v1/devices/{_name(0)}/windows?tier=1m&limit=1500"
            day += f"&from={now - MINUTES * 60_000}&to={now}"
            days = [_seconds(day) * 1000 for _ in range(DAY_REQUESTS)]
            opened = []
            if browser is not None:
                progress("the page …")
                opened = list(_openings(browser, server.url))
    checks = []
    if opened:
        what = f"fleet page interactive, {DEVICES:,} devices"
        checks.append(limit(what, Samples(opened), unit="s", at_most=TARGET_S))
    checks += [
        _reported("API: page of 100 devices, p95", pages),
        _reported("API: day of 1-minute windows, p95", days),
    ]
    without = {} if opened else {"left_out": "no Chromium on this machine, so no page"}
    return result("the dashboard with a great fleet", checks, **without)


def _reported(what: str, values: list[float]) -> Result:
    """A figure without a target: p95, beside the median as its baseline."""
    p95 = statistics.quantiles(values, n=20)[-1]
    median = statistics.median(values)
    return {
        "what": what, "unit": "ms", "value": p95, "baseline": median, "ratio": p95 / median,
        "target": "", "met": None, "runs": len(values), "spread": Samples(values).spread,
    }  # fmt: skip


def _name(number: int) -> str:
    return f"dev-{number:05d}"


def _page(number: int) -> str:
    return f"/api/v1/devices?limit=100&offset={number * 97 % (DEVICES - 100)}"


def _seconds(url: str) -> float:
    started = time.perf_counter()
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - the server just started
        answer.read()
    return time.perf_counter() - started


def _openings(executable: str, url: str) -> Iterator[float]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for _ in range(OPENINGS):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            started = time.perf_counter()
            page.goto(url, wait_until="commit")
            page.locator("tbody tr[data-device]").first.wait_for()
            page.get_by_label("Search").fill("dev-0999")
            page.locator(f"tbody tr[data-device={_name(9990)}]").wait_for()
            yield time.perf_counter() - started
            context.close()
        browser.close()


def _fill(target: Target, now: int) -> None:
    client = target.client("dynamodb")
    settings = target.settings
    _write(client, settings.devices_table, (_device(i, now) for i in range(DEVICES)))
    start = now // 60_000 * 60_000
    _write(
        client,
        settings.windows_table,
        (_window(_name(0), start - minute * 60_000) for minute in range(MINUTES)),
    )


def _write(client: Any, table: str, items: Iterator[dict[str, Any]]) -> None:
    batch: list[dict[str, Any]] = []

    def flush() -> None:
        answer = client.batch_write_item(RequestItems={table: batch})
        assert not answer.get("UnprocessedItems"), "the embedded AWS takes every item"
        batch.clear()

    for item in items:
        batch.append({"PutRequest": {"Item": item}})
        if len(batch) == 25:
            flush()
    if batch:
        flush()


_N: Final[Callable[[float], dict[str, str]]] = lambda value: {"N": repr(value)}  # noqa: E731


def _device(number: int, now: int) -> dict[str, Any]:
    name, seen = _name(number), now - number % 100 * 1000
    values = {"humidity": 40 + number % 20, "temperature": 18 + number % 70 / 10}
    return {
        "device": {"S": name}, "ver": _N(1),
        "group": {"S": f"plant-{number % 7}"}, "type": {"S": ("pump", "meter")[number % 2]},
        "last_seen": _N(seen), "last_ts": _N(seen), "boot": {"S": "boot-one"}, "seq": _N(9),
        "metrics": {"M": {k: {"M": {"v": _N(v), "ts": _N(seen)}} for k, v in values.items()}},
    }  # fmt: skip


def _window(device: str, start: int) -> dict[str, Any]:
    name = time.strftime("1m#%Y-%m-%dT%H:%M:%SZ", time.gmtime(start / 1000))
    metric = {
        "n": 60, "sum": 1260.0, "min": 20.0, "max": 22.0, "mean": 21.0, "m2": 20.0,
        "first": 20.5, "last": 21.5, "first_at": start, "last_at": start + 59_000,
    }  # fmt: skip
    return {
        "device": {"S": device}, "window": {"S": name}, "ver": _N(60), "n": _N(60),
        "ids": {"M": {"boot-one": {"S": "0-59"}}},
        "first_ts": _N(start), "last_ts": _N(start + 59_000), "updated_at": _N(start + 60_000),
        "expires_at": _N(start // 1000 + 10**7),
        "metrics": {
            "M": {
                m: {"M": {k: _N(v) for k, v in metric.items()}}
                for m in ("temperature", "humidity", "power")
            }
        },
    }  # fmt: skip
