"""The read side over hot tables in memory: what it answers, refuses, and keeps to itself."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient

from dashboard import completeness, fleet, queries
from dashboard.answers import Device, Value
from dashboard.errors import BadRequestError
from dashboard.feed import Feed
from dashboard.fleet import Snapshot, Wanted
from dashboard.http.openapi import document
from dashboard.http.responses import tagged_response
from ingest.id_ranges import IdSet
from ingest.tiers import LOCAL_TIERS
from ingest.times import parse_time
from tests.harness.dashboard import NAMES, NOW, a_fleet, client_of
from tests.harness.tables import PAGE, Tables

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tables() -> Tables:
    return a_fleet()


@pytest.fixture
def client(tables: Tables) -> Iterator[TestClient]:
    with client_of(tables) as running:
        yield running


def get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


# -- queries --------------------------------------------------------------------------------


def test_the_roster_is_read_whole_across_buckets_and_pages(tables: Tables) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = queries.roster(tables, "devices", pool)
    assert [row["device"] for row in found] == sorted(tables.devices)


def test_windows_come_page_by_page_and_expired_ones_do_not(tables: Tables) -> None:
    span = {"start_ms": NOW - 3_600_000, "end_ms": NOW, "now_s": NOW / 1000}
    tier = LOCAL_TIERS[1]
    found: list[Any] = []
    cursor = None
    pages = 0
    while True:
        part, cursor = queries.windows(
            tables,
            "windows",
            "dev-00",
            tier,
            limit=PAGE,
            cursor=cursor,
            **span,  # type: ignore[arg-type]
        )
        found += part
        pages += 1
        if cursor is None:
            break
    assert pages == 3
    assert [one["start"] for one in found] == [f"2026-11-23T07:{m:02d}:00Z" for m in range(20)]
    assert found[0]["metrics"]["temperature"]["stddev"] == 1.0


@pytest.mark.parametrize("cursor", ["", "x", "bm8=", "eyJhIjoxfQ==", "é", "A" * 700])
def test_a_cursor_that_is_not_ours_is_refused(tables: Tables, cursor: str) -> None:
    with pytest.raises(BadRequestError):
        queries.windows(
            tables, "windows", "dev-00", LOCAL_TIERS[0], start_ms=0, end_ms=1, limit=1,
            cursor=cursor, now_s=0,
        )  # fmt: skip


@given(st.sets(st.integers(0, 200), min_size=1))
def test_completeness_names_exactly_the_numbers_that_are_not_there(numbers: set[int]) -> None:
    ids = IdSet()
    for number in numbers:
        ids.add("b", number, number + 1)
    found = completeness.missing([ids.dump()])["b"]
    gaps = {number for low, high in found["gaps"] for number in range(low, high + 1)}
    inside = set(range(min(numbers), max(numbers) + 1))
    assert found["present"] == len(numbers)
    assert found["missing"] == len(inside - numbers)
    assert gaps == inside - numbers or len(found["gaps"]) == completeness.SHOWN


# -- the fleet ------------------------------------------------------------------------------


def a_device(*, last_seen: int | None) -> Device:
    return {
        "device": "a", "group": "", "type": "", "last_seen": last_seen, "last_ts": last_seen,
        "boot": None, "seq": None, "metrics": {},
    }  # fmt: skip


def test_freshness_goes_from_online_over_late_to_silent() -> None:
    row = a_device(last_seen=NOW)
    words = [fleet.freshness(row, NOW + ms) for ms in (0, 60_000, 60_001, 900_000, 900_001)]
    assert words == ["online", "online", "late", "late", "silent"]
    assert fleet.freshness(a_device(last_seen=None), NOW) == "new"


def test_only_watched_devices_that_changed_are_told() -> None:
    row = a_device(last_seen=NOW)
    old = Snapshot(1, NOW, {"a": row, "b": {**row, "device": "b"}})
    new = Snapshot(2, NOW + 1000, {"a": {**row, "last_seen": NOW + 900}, "b": old.devices["b"]})
    assert [one["device"] for one in fleet.changed(old, new, ["a", "b", "gone"])] == ["a"]
    later = Snapshot(3, NOW + 70_000, new.devices)
    assert {one["status"] for one in fleet.changed(new, later, ["a", "b"])} == {"late"}


def test_a_trend_is_of_a_metric_that_is_more_than_a_switch() -> None:
    sparks = fleet.Sparks()
    for i in range(50):
        metrics: dict[str, Value] = {
            "door": {"v": i % 2, "ts": i}, "level": {"v": i / 2, "ts": i},
        }  # fmt: skip
        sparks.add([{**a_device(last_seen=NOW), "metrics": metrics}])
    assert sparks.of("a") == [i / 2 for i in range(50 - fleet.POINTS, 50)]


def test_a_trend_ends_when_the_device_is_moved_to_another_group_or_removed() -> None:
    sparks = fleet.Sparks()

    def add(at: int, *groups: str) -> None:
        metrics: dict[str, Value] = {"level": {"v": at / 10, "ts": at}}
        sparks.add([{**a_device(last_seen=NOW), "group": one, "metrics": metrics}
                    for one in groups])  # fmt: skip

    for at, groups in ((1, ["x"]), (2, ["x"]), (3, ["y"]), (4, ["y"]), (5, []), (6, ["y"])):
        add(at, *groups)
        wanted = {1: [1], 2: [1, 2], 3: [3], 4: [3, 4], 5: [], 6: [6]}[at]
        assert sparks.of("a") == [one / 10 for one in wanted]


@pytest.mark.parametrize("wrong", [{"sort": "ver"}, {"limit": 0}, {"limit": 201}, {"offset": -1}])
def test_a_page_is_bounded(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError):
        Wanted(**wrong)


# -- the API --------------------------------------------------------------------------------


def test_devices_are_searched_filtered_sorted_and_paged(client: TestClient) -> None:
    everything = get(client, "/api/v1/devices", limit=200)
    assert everything["total"] == 41
    assert get(client, "/api/v1/devices", search="V-1")["total"] == 10
    assert get(client, "/api/v1/devices", group="g1")["total"] == 20
    assert get(client, "/api/v1/devices", type="meter")["devices"][0]["device"] == "never"
    assert get(client, "/api/v1/devices", status="silent")["total"] == 24
    page = get(client, "/api/v1/devices", sort="last_seen", order="desc", limit=3, offset=1)
    assert [row["device"] for row in page["devices"]] == ["dev-01", "dev-02", "dev-03"]


def test_the_summary_adds_up(client: TestClient) -> None:
    summary = get(client, "/api/v1/summary")
    assert summary["devices"] == {"total": 41, "online": 2, "late": 14, "silent": 24, "new": 1}
    assert (summary["messages_per_s"], summary["readings_per_s"]) == (5.0, 7.5)
    assert summary["lag_ms"] == {"shard-0": 40}
    assert summary["rejected"] == {"malformed": 1}
    assert summary["units"] == {"temperature": "°C"}


def test_a_worker_that_fell_silent_is_not_shown_as_working(tables: Tables) -> None:
    tables.add_worker("w-1", NOW - 60_000)
    with client_of(tables) as client:
        assert get(client, "/api/v1/summary")["workers"] == 0
        assert get(client, "/api/v1/stream")["shards"][0]["state"] == "unknown"


def test_a_device_its_windows_and_its_gaps(client: TestClient) -> None:
    assert get(client, "/api/v1/devices/dev-00")["status"] == "online"
    span = {"tier": "1m", "from": NOW - 3_600_000, "to": NOW}
    windows = get(client, "/api/v1/devices/dev-00/windows", **span, limit=5)
    assert len(windows["windows"]) == 5
    assert windows["cursor"]
    boots = get(client, "/api/v1/devices/dev-00/missing", **span)["boots"]
    assert boots["boot-one"]["missing"] == 19
    assert boots["boot-one"]["gaps"][0] == [9, 9]


def test_grafana_gets_one_metric_as_a_flat_array(client: TestClient) -> None:
    span = {"tier": "1m", "from": NOW - 3_600_000, "to": NOW, "metric": "temperature"}
    points = get(client, "/api/v1/devices/dev-00/series", **span)
    assert len(points) == 20
    assert points[0]["time"] == "2026-11-23T07:00:00Z"
    assert (points[0]["mean"], points[0]["min"], points[0]["max"]) == (21.0, 20.0, 22.0)


def test_the_grafana_dashboard_asks_for_what_exists() -> None:
    text = (ROOT / "infra" / "grafana" / "dashboards" / "devices.json").read_text()
    json.loads(text)
    known = {re.sub(r"\{.*?\}", "*", path) for path in document(["1m"])["paths"]}
    for path in re.findall(r"/api/v1/[^\"?\s]+", text):
        assert re.sub(r"\$\{.*?\}|\$\w+", "*", path) in known


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/devices/nobody", 404),
        ("/api/v1/devices/nobody/windows", 404),
        ("/api/v1/devices/%3Cscript%3E", 400),
        ("/api/v1/devices/dev-00/windows?tier=2m", 400),
        ("/api/v1/devices/dev-00/windows?from=now", 400),
        ("/api/v1/devices/dev-00/windows?from=99999999999999999999", 400),
        ("/api/v1/devices/dev-00/windows?from=2&to=1", 400),
        ("/api/v1/devices/dev-00/windows?tier=10s&from=0&to=1795420800000", 400),
        ("/api/v1/devices/dev-00/windows?cursor=x", 400),
        ("/api/v1/devices/dev-00/series?metric=__proto__", 400),
        ("/api/v1/devices?limit=1000", 400),
        ("/api/v1/devices?sort=secret", 400),
        ("/api/v1/live?watch=" + ",".join(["d"] * 201), 400),
        ("/api/v1/live?watch=<b>", 400),
        ("/api/v1/latest?watch=<b>", 400),
        ("/api/v2/devices", 404),
    ],
)
def test_a_wrong_request_is_answered_with_a_sentence(
    client: TestClient, path: str, code: int
) -> None:
    answer = client.get(path)
    assert answer.status_code == code
    if path.startswith("/api/"):
        assert answer.json()["error"]


def test_an_answer_that_did_not_change_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/api/v1/stream")
    again = client.get("/api/v1/stream", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/api/v1/summary", "/api/v1/stream", "/api/v1/devices"])
def test_another_process_that_read_the_same_says_that_nothing_changed(
    tables: Tables, path: str
) -> None:
    with client_of(tables) as one:
        first = one.get(path)
    with client_of(tables) as other:
        again = other.get(path, headers={"If-None-Match": f'"x", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    tables.add_device("new", seen=NOW, group="g0", kind="pump")
    tables.add_worker("w-2", NOW)
    with client_of(tables) as other:
        assert other.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 200


def test_only_the_time_of_reading_makes_no_change() -> None:
    tags = [_tag({"at": at, "n": n}) for at, n in ((1, 1), (2, 1), (2, 2))]
    assert tags[0] == tags[1] != tags[2]


def _tag(value: dict[str, int]) -> str:
    request = Request({"type": "http", "headers": []})
    return tagged_response(request, value, read_at=("at",)).headers["etag"]


def test_a_table_that_does_not_answer_is_said_and_outlived(tables: Tables) -> None:
    with client_of(tables) as client:
        tables.fail = RuntimeError("throttled")
        assert _health(client, 503)["error"].endswith("throttled")
        assert get(client, "/api/v1/summary")["devices"]["total"] == 41
        assert client.get("/api/v1/devices/dev-00").status_code == 502
        tables.fail = None
        assert _health(client, 200)["status"] == "ok"


def _health(client: TestClient, wanted: int) -> Any:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        answer = client.get("/api/v1/health")
        if answer.status_code == wanted:
            return answer.json()
    raise AssertionError(answer.text)


def test_the_metrics_page_is_prometheus_text(client: TestClient) -> None:
    text = client.get("/metrics").text
    assert "\npenstock_dashboard_devices 41\n" in text


def test_every_path_of_the_document_is_served_and_no_other(client: TestClient) -> None:
    served = get(client, "/api/v1/openapi.json")
    assert served == document([tier.name for tier in LOCAL_TIERS])
    assert served == json.loads((ROOT / "docs" / "openapi.json").read_text())


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("/api/v1/summary", "/api/v1/summary"),
        ("/api/v1/summary/history", "/api/v1/summary/history"),
        ("/api/v1/stream", "/api/v1/stream"),
        ("/api/v1/latest?watch=dev-00,gone", "/api/v1/latest"),
        ("/api/v1/devices", "/api/v1/devices"),
        ("/api/v1/devices/dev-00", "/api/v1/devices/{device}"),
        ("/api/v1/devices/never", "/api/v1/devices/{device}"),
        ("/api/v1/devices/dev-00/windows?tier=1m", "/api/v1/devices/{device}/windows"),
        ("/api/v1/devices/dev-00/missing?tier=1m", "/api/v1/devices/{device}/missing"),
        (
            "/api/v1/devices/dev-00/series?tier=1m&metric=temperature",
            "/api/v1/devices/{device}/series",
        ),
    ],
)
def test_answers_are_what_the_document_promises(client: TestClient, path: str, at: str) -> None:
    promised = document(["1m"])
    content = promised["paths"][at]["get"]["responses"]["200"]["content"]["application/json"]
    schema = {**content["schema"], "components": promised["components"]}
    answer = get(client, path)
    jsonschema.validate(answer, schema)
    if isinstance(answer, dict):  # what is not promised is not answered either
        promise = promised["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]
        assert set(answer) == set(promise["properties"])


def test_a_span_is_given_in_iso_time_or_in_milliseconds(client: TestClient) -> None:
    windows = "/api/v1/devices/dev-00/windows"
    span = {"from": "2026-11-23T07:05:00Z", "to": "2026-11-23T07:09:59Z"}
    found = get(client, windows, tier="1m", **span)["windows"]
    assert [one["start"] for one in found] == [f"2026-11-23T07:0{m}:00Z" for m in range(5, 10)]
    for same in (
        {"from": 1_795_417_500_000, "to": 1_795_417_799_000},
        {"from": "2026-11-23T07:05", "to": "2026-11-23T07:09:59"},
        {"from": "2026-11-23T08:05:00+01:00", "to": "2026-11-23T08:09:59 01:00"},
    ):
        assert get(client, windows, tier="1m", **same)["windows"] == found
    by_number = {"from": parse_time(span["from"]), "to": parse_time(span["to"])}
    assert get(client, windows, tier="1m", **by_number)["windows"] == found
    refused = client.get(windows, params={"from": "now"})
    assert "write it as 2026-11-24T07:45:00Z" in refused.text


def test_a_device_says_what_of_it_was_not_folded_over_all_workers(tables: Tables) -> None:
    late = {"dispositions": {"late": 3}, "last_at": NOW - 5000}
    mixed = {"dispositions": {"late": 1, "clock_ahead": 2}, "last_at": NOW - 1000}
    tables.add_worker("w-1", NOW, rejected_devices={"dev-00": late})
    tables.add_worker("w-2", NOW, rejected_devices={"dev-00": mixed, "dev-01": late})
    with client_of(tables) as client:
        assert get(client, "/api/v1/devices/dev-00")["rejected"] == {
            "dispositions": {"late": 4, "clock_ahead": 2}, "last_at": NOW - 1000,
        }  # fmt: skip
        assert get(client, "/api/v1/devices/dev-02")["rejected"] is None


# -- live -----------------------------------------------------------------------------------


def test_a_slow_viewer_skips_and_holds_one_snapshot(tables: Tables) -> None:
    async def scenario() -> tuple[int, int]:
        feed = Feed(tables, NAMES, now_ms=lambda: NOW, fastest_s=0.001)
        await feed.start()
        first = feed.snapshot.version
        while feed.snapshot.version < first + 20:
            await feed.after(feed.snapshot.version, 1.0)
        newest = await feed.after(first, 1.0)
        await feed.stop()
        assert newest is not None
        return first, newest.version

    first, seen = asyncio.run(scenario())
    assert seen >= first + 20


def test_the_feed_waits_no_longer_than_told(tables: Tables) -> None:
    async def scenario() -> Snapshot | None:
        feed = Feed(tables, NAMES, now_ms=lambda: NOW, fastest_s=60.0)
        await feed.start()
        found = await feed.after(feed.snapshot.version, 0.01)
        await feed.stop()
        return found

    assert asyncio.run(scenario()) is None
