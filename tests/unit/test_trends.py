"""The fleet's figures over time: what is kept, and for how long."""

from __future__ import annotations

from dashboard import fleet
from dashboard.answers import Report, Summary
from dashboard.fleet import Snapshot
from dashboard.trends import KEPT, STEP_MS, Trends
from tests.harness.dashboard import NOW, a_fleet, client_of


def summary_at(at: int, rejected: int = 0) -> Summary:
    report: Report = {
        "worker": "w-1", "updated_at": at, "restarts": 0, "conflicts": 0, "throttled": 0,
        "records": 9, "durable": 9, "latency_ms": {"p50": 300.0, "p95": 500.0, "p99": 600.0},
        "messages_per_s": 5.0, "readings_per_s": 7.5,
        "dispositions": {"ok": 9, "late": rejected, "malformed": 1},
    }  # fmt: skip
    return fleet.summary(Snapshot(at=at, workers=[report]))


def test_one_point_is_kept_of_each_step_whatever_is_read_in_between() -> None:
    trends = Trends()
    for at in range(NOW, NOW + 3 * STEP_MS, STEP_MS // 10):
        trends.add(summary_at(at))
    assert [one["at"] - NOW for one in trends.since(0)] == [0, STEP_MS, 2 * STEP_MS]


def test_an_hour_is_kept_and_the_newest_of_it_can_be_asked_for() -> None:
    trends = Trends()
    for step in range(2 * KEPT):
        trends.add(summary_at(NOW + step * STEP_MS))
    points = trends.since(0)
    assert len(points) == KEPT
    assert points[-1]["at"] - points[0]["at"] == 3_600_000 - STEP_MS
    assert trends.since(points[-2]["at"] + 1) == points[-1:]


def test_a_point_has_the_figures_of_the_summary() -> None:
    trends = Trends()
    trends.add(summary_at(NOW, rejected=4))
    assert trends.since(NOW) == [
        {
            "at": NOW, "online": 0, "late": 0, "silent": 0, "messages_per_s": 5.0,
            "readings_per_s": 7.5, "p50_ms": 300.0, "p99_ms": 600.0, "rejected": 5,
        }
    ]  # fmt: skip


def test_the_api_gives_the_points_from_a_time_on() -> None:
    with client_of(a_fleet()) as client:
        whole = client.get("/api/v1/summary/history").json()
        assert [one["at"] for one in whole["points"]] == [NOW]
        later = client.get("/api/v1/summary/history", params={"from": NOW + 1}).json()
        assert later == {"step_ms": STEP_MS, "points": []}
