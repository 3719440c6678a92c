"""A small fleet in memory with windows up to now, and a page on it in a real browser."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser, Locator, Page, expect

from dashboard import fleet
from dashboard.feed import Feed
from dashboard.fleet import Snapshot
from dashboard.http.api import create_app
from dashboard.http.server import HOST, BackgroundServer, listen
from ingest.tables.alarms import Entry
from ingest.tables.hot import window_name
from ingest.tiers import LOCAL_TIERS, Tier
from tests.harness.dashboard import NAMES
from tests.harness.tables import Tables

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DEPTH_MS: Final = {"10s": 2 * HOUR, "1m": 26 * HOUR, "1h": 72 * HOUR}
"""How far back each tier has windows."""

GAP_MS: Final = (25 * MINUTE, 15 * MINUTE)
"""Pump 1 sent nothing from so long ago to so long ago."""

READINGS_A_WINDOW: Final = 3
TYPES: Final = {"pump-1": "pump", "pump-2": "pump", "meter-1": "meter"}
ACCENT: Final = (11, 114, 133)
"""The color of a device's line in the light scheme."""

UNITS: Final = {"temperature": "°C"}


def charted_fleet(now_ms: int) -> Tables:
    """Three devices that send, 60 that sent once, and one that never did; a worker; alerts."""
    tables = Tables(page=1_500)
    for number, (name, kind) in enumerate(TYPES.items()):
        tables.add_device(
            name, seen=now_ms, group=f"hall-{1 + number // 2}", kind=kind,
            metrics={"humidity": 60.0 + number, "temperature": 20.5 + number},
        )  # fmt: skip
        for tier in LOCAL_TIERS:
            _add_windows(tables, name, tier, now_ms, number)
    for number in range(60):
        tables.add_device(
            f"old-{number:02d}", seen=now_ms - (number % 4) * 8 * MINUTE, group="hall-2",
            kind="pump", metrics={"temperature": 10.0 + number},
        )  # fmt: skip
    tables.add_device("never", seen=None, group="hall-1", kind="meter")
    tables.add_worker("w-1", now_ms)
    raised, cleared = Entry(now_ms - 8 * MINUTE, "raised"), Entry(now_ms - 5 * MINUTE, "cleared")
    tables.alerts.add("pump-1", raised, changed=now_ms - 5 * MINUTE, rule="too-warm")
    tables.alerts.add("pump-2", raised, cleared, changed=now_ms - 6 * MINUTE, rule="too-warm")
    return tables


def add_last_hour(feed: Feed, now_ms: int) -> None:
    """What a server has seen that runs for an hour; five minutes are missing."""
    for at in range(now_ms - HOUR, now_ms - 10_000, 10_000):
        if 35 * MINUTE <= now_ms - at < 40 * MINUTE:
            continue
        seen, wave = (at - now_ms + HOUR) / HOUR, math.sin(at / (5 * MINUTE))
        feed.trends.add(
            {
                **fleet.summary(Snapshot(at=at)),
                "messages_per_s": 40 + 5 * wave,
                "latency_ms": {"p50": 300 + 20 * wave, "p95": None, "p99": 700 + 90 * wave},
                "devices": {
                    "total": 20,
                    "online": 12 + int(3 * wave),
                    "late": 3,
                    "silent": 5,
                    "new": 0,
                },
                "rejected": {"malformed": int(600 * seen)},
            }
        )


def _add_windows(tables: Tables, name: str, tier: Tier, now_ms: int, number: int) -> None:
    newest = now_ms - now_ms % tier.size_ms
    for index in range(DEPTH_MS[tier.name] // tier.size_ms):
        start = newest - index * tier.size_ms
        if name == "pump-1" and tier.name != "1h" and GAP_MS[1] <= now_ms - start < GAP_MS[0]:
            continue
        first = (start // tier.size_ms) * READINGS_A_WINDOW
        mean = 20 + number + 3 * math.sin(start / HOUR) + 0.3 * math.sin(start / MINUTE)
        tables.add_window(
            name, window_name(tier.name, start), f"{first}-{first + READINGS_A_WINDOW - 1}",
            metrics={
                "temperature": [mean - 0.5, mean, mean + 0.5],
                "humidity": [60 + number - mean / 10, 60 + number, 60 + number + mean / 10],
            },
        )  # fmt: skip


@contextmanager
def charted_dashboard(now_ms: int | None = None) -> Iterator[str]:
    """The dashboard over :func:`charted_fleet`, whose address this gives."""
    tables = charted_fleet(now_ms or time.time_ns() // 1_000_000)
    feed = Feed(
        tables, NAMES, now_ms=lambda: time.time_ns() // 1_000_000, fastest_s=3600,
        writer=tables.writer,
    )  # fmt: skip
    add_last_hour(feed, feed.now_ms())
    with BackgroundServer(create_app(feed, LOCAL_TIERS, units=UNITS), listen(HOST, 0)) as server:
        yield server.url


@contextmanager
def opened(browser: Browser, address: str, **context: Any) -> Iterator[Page]:
    """A page without a history of its own; fails when a script of it does, or when the browser
    refuses something by the page's content security policy."""
    made = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    page = made.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on(
        "console",
        lambda said: failures.append(said.text) if "Content Security" in said.text else None,
    )
    page.goto(address)
    yield page
    made.close()
    assert failures == []


def charts_of(page: Page, count: int = 2) -> Locator:
    charts = page.locator("section[data-metric] .chart")
    expect(charts).to_have_count(count, timeout=15_000)
    return charts


def drawn_at(chart: Locator, share: float, color: tuple[int, int, int] = ACCENT) -> int:
    """How many pixels of a line there are at a share of the plot's width, a few pixels wide."""
    found: int = chart.evaluate(
        """(chart, [share, color]) => {
            const canvas = chart.querySelector("canvas"), scale = devicePixelRatio;
            const from = canvas.getBoundingClientRect();
            const at = chart.querySelector(".u-over").getBoundingClientRect();
            const x = (at.left - from.left + at.width * share) * scale;
            const pixels = canvas.getContext("2d").getImageData(
                x - 2, (at.top - from.top) * scale, 5, at.height * scale).data;
            let found = 0;
            for (let i = 0; i < pixels.length; i += 4) {
                const far = color.map((one, k) => Math.abs(pixels[i + k] - one));
                if (pixels[i + 3] > 200 && Math.max(...far) < 40) found += 1;
            }
            return found;
        }""",
        [share, list(color)],
    )
    return found
