"""What is on somebody's page is marked as watched, and shown as its current window is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from dashboard.feed import Feed
from dashboard.http.api import create_app
from dashboard.watching import RENEW_S, Watched
from ingest.tables.hot import window_name
from ingest.tables.watched import MAX_DEVICES, WATCH_S
from ingest.tiers import Tier
from tests.harness.tables import Tables
from tests.unit.test_dashboard import NAMES, NOW

TIERS = (Tier("1h", 600, 10**7), Tier("1m", 75, 10**6))


def wait_until(what: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_device_on_a_page_is_marked_and_shown_as_its_current_window_is() -> None:
    """The roster is minutes old; the window of the current minute has the newest values."""
    tables, minute = Tables(), NOW - 60_000
    tables.add_device("pump-live", seen=NOW - 600_000)
    tables.add_window("pump-live", window_name("1m", minute), values=[30.0, 31.5])
    window = tables.windows["pump-live"][window_name("1m", minute)]
    window["last_ts"] = {"N": str(NOW - 700)}
    window["metrics"]["M"]["temperature"]["M"]["last_at"] = {"N": str(NOW - 700)}
    feed = Feed(tables, NAMES, now_ms=lambda: NOW, fastest_s=0.01)
    with TestClient(create_app(feed, TIERS), base_url="http://127.0.0.1") as client:

        def shown() -> Any:
            found = client.get("/api/v1/devices?search=pump-live").json()["devices"]
            return found[0]["metrics"]["temperature"]["v"], found[0]["status"]

        assert shown() == (21.5, "late")
        wait_until(lambda: shown() == (31.5, "online"))
        one = client.get("/api/v1/devices/pump-live").json()
        assert (one["metrics"]["temperature"]["ts"], one["last_seen"]) == (NOW - 700, NOW - 700)
    assert tables.marks
    assert tables.marks[0]["TableName"] == NAMES.status
    marked = tables.marks[0]["ExpressionAttributeValues"][":mine"]["M"]["devices"]["L"]
    assert marked == [{"S": "pump-live"}]


def test_a_mark_is_put_again_for_a_new_device_and_before_it_ends() -> None:
    watched, tables = Watched(), Tables()
    assert not watched.is_due(1000)
    watched.add(["a"], 1000)
    assert watched.is_due(1000)
    watched.mark(tables, "status", 1000)
    assert not watched.is_due(1000 + RENEW_S - 1)
    assert watched.is_due(1000 + RENEW_S)
    watched.add(["b"], 1001)
    assert watched.is_due(1001)
    assert not watched.is_due(1002 + WATCH_S)  # nobody looks any more


def test_of_too_many_devices_those_asked_for_last_are_watched() -> None:
    watched = Watched()
    watched.add([f"d{i}" for i in range(MAX_DEVICES)], 1000)
    watched.add(["new"], 1001)
    devices = watched.devices(1002)
    assert len(devices) == MAX_DEVICES
    assert devices[0] == "new"
    assert "d0" not in devices
