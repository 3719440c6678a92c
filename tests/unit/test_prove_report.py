"""What a proof concludes from what it saw, what it costs at most, and its page."""

from __future__ import annotations

import copy
from html.parser import HTMLParser
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.cost.prices import read_prices
from infra.prove.estimate import Extent, extent_of, most
from infra.prove.load import scenario_of
from infra.prove.place import added
from infra.prove.plan import ORDER, Step
from infra.prove.report import signature
from infra.prove.report.document import lines_of, report_of
from infra.prove.report.invariants import exact, invariants
from infra.prove.report.page import page_of
from infra.prove.run_state import Run
from ingest.settings import Settings

WORKER: dict[str, Any] = {
    "durable": 2400,
    "latency_ms": {"p50": 2844.0, "p95": 19065.0, "p99": 29576.0},
    "live_latency_ms": {"p50": 812.0, "p95": 9000.0, "p99": 10100.0},
    "longest_stall_s": 11.1,
    "restarts": {"killed": 1},
    "conflicts": 3,
}
LOAD: dict[str, Any] = {
    "scenario": {"name": "prove"},
    "fleets": {},
    "spool": {"numbered": 2405, "lost": 0, "waiting": 0, "dropped": 0, "refused": 0},
    "samples": [
        {"at": float(at), "taken": 80 * at, "acked": 60 * at, "durable": 70 * at, "lag_ms": 10 * at,
         "connected": 24, "waiting": 0, "ack_p50": 5.0, "ack_p99": 9.0, "p50": None, "p99": None}
        for at in range(5)
    ],
    "notices": [],
    "stack_faults": [
        {"name": "worker_killed", "what": "the worker <is> killed", "at_s": 6.0, "healed": True,
         "healed_s": 11.0, "detail": "4 processes"},
    ],
    "checkpoints": {"compared": 8, "ahead": []},
    "worker": WORKER,
}  # fmt: skip
FOUND: dict[str, Any] = {
    "verdict": "exact",
    "devices": 24,
    "sent": {"messages": 1871, "readings": 2405, "acknowledged": 2405},
    "windows": {"checked": 146, "missing": 0, "extra": 0, "wrong": 0, "expired": 0},
    "latest": {"checked": 24, "wrong": 0},
    "archive": {"objects": 9, "records": 1863, "readings": 2405, "missing": 0, "duplicated": 0,
                "repeated": 214, "wrong": 0, "extra": 0, "rejected": 72},
    "dispositions": {"ok": 2619, "malformed": 72},
    "differences": [],
    "device_faults": {"storm": 32, "spoof": 21, "spoof_refused": 21, "duplicates": 158},
    "unread_records": 0,
    "checkpoints": {"compared": 2, "ahead": []},
    "worker": {**WORKER, "durable": 2300, "conflicts": 0},
    "shards": 3,
}  # fmt: skip
COST: dict[str, Any] = {
    "usd": 0.0032, "usd_a_million_messages": 1.7, "lines": {"Kinesis": 0.0007, "S3 storage": 2e-6},
    "basis": "metered", "at_most_usd": 0.1, "prices": "us-east-1, 2024-02 to 2026-09-28",
}  # fmt: skip


def _account(*left: str, denied: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"kinds": ["thing", "stream"], "denied": list(denied), "left": list(left)}


def _rows(left: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    load, found = copy.deepcopy(LOAD), copy.deepcopy(FOUND)
    for path, value in changes.items():
        part, *keys = path.split("__")
        place = {"load": load, "found": found}[part]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
    return {row["id"]: row for row in invariants(load, found, _account(*left))}


def test_a_run_in_which_all_is_well_is_exact() -> None:
    rows = _rows()
    assert {name for name, row in rows.items() if row["held"]} == set("SHACKLIR")
    assert rows["T"]["held"] is None
    assert exact(list(rows.values()))


@pytest.mark.parametrize(
    ("broken", "change"),
    [
        ("S", {"load__spool__lost": 1}),
        ("S", {"load__spool__waiting": 2}),
        ("H", {"found__windows__missing": 1}),
        ("H", {"found__windows__extra": 1}),
        ("H", {"found__windows__wrong": 1}),
        ("H", {"found__latest__wrong": 1}),
        ("A", {"found__archive__missing": 1}),
        ("A", {"found__archive__duplicated": 1}),
        ("C", {"found__dispositions": {"ok": 2618, "malformed": 72}}),
        ("C", {"found__archive__wrong": 1}),
        ("K", {"load__checkpoints": {"compared": 9, "ahead": ["shard-0"]}}),
        ("K", {"load__checkpoints": {"compared": 0, "ahead": []},
               "found__checkpoints": {"compared": 0, "ahead": []}}),
        ("L", {"found__unread_records": 4}),
        ("L", {"load__stack_faults": []}),
        ("L", {"load__stack_faults": [{"name": "shard_split", "healed": False, "healed_s": None}]}),
        ("I", {"found__archive__extra": 1}),
        ("I", {"found__device_faults": {"spoof": 5}}),
    ],
)  # fmt: skip
def test_each_promise_that_is_broken_is_named_and_decides_the_verdict(
    broken: str, change: dict[str, Any]
) -> None:
    rows = _rows(**change)
    assert rows[broken]["held"] is False
    assert not exact(list(rows.values()))


def test_what_is_left_in_the_account_breaks_a_promise_and_is_named() -> None:
    rows = _rows(("dynamodb table prove-1-windows",))
    assert rows["R"]["held"] is False
    assert "prove-1-windows" in rows["R"]["detail"]


def test_kinds_that_the_caller_may_not_list_are_named() -> None:
    rows = {r["id"]: r for r in invariants(LOAD, FOUND, _account(denied=("role", "alarm")))}
    assert rows["R"]["held"]
    assert "you may not list role, alarm" in rows["R"]["detail"]


def test_no_attempt_to_spoof_is_no_proof_of_identity() -> None:
    assert _rows(found__device_faults={})["I"]["held"] is None


def _report(left: tuple[str, ...] = ()) -> dict[str, Any]:
    run = Run(stack="prove-261125-1f3a", mode="strict", seed=7, devices=24, load_s=30.0,
              started_at=1_795_420_839.0, region="us-east-1", account="123456789012")  # fmt: skip
    results = {
        Step.PREFLIGHT: {"at_most_usd": 0.1}, Step.LOAD: LOAD, Step.VERIFY: FOUND, Step.PRICE: COST,
        Step.INSPECT: _account(*left),
    }  # fmt: skip
    for step in ORDER[:-1]:
        run.seconds[step] = 1.0
        run.results[step] = results.get(step)
    return report_of(run, Settings(), run.started_at + 100)


def test_the_report_says_what_a_reader_asks() -> None:
    report = _report()
    assert report["verdict"] == "exact"
    assert report["where"]["account"] == "********9012"
    assert report["times"]["started"] == "2026-11-23T08:00:39Z"
    assert report["versions"]["penstock"]
    assert report["worker"]["conflicts"] == 3  # of the worker that saw more of the run
    assert any("embedded AWS" in line for line in report["not_exercised"])
    assert lines_of(report)[-1].startswith("proven: exact")
    assert lines_of(_report(("thing x",)))[-1].startswith("not proven")


class _Page(HTMLParser):
    """What a page loads from elsewhere, and whether its elements are closed."""

    VOID = frozenset({"meta", "br", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {k}={v}" for k, v in attrs if k in ("src", "href")]
        self.loads += [tag] if tag in ("script", "link", "iframe", "img") else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed at once."""

    def handle_data(self, data: str) -> None:
        self.text += data


def _page(report: dict[str, Any]) -> _Page:
    page = _Page()
    page.feed(page_of(signature.sign(report, Ed25519PrivateKey.generate())))
    return page


def test_the_page_needs_nothing_from_elsewhere_and_is_whole() -> None:
    page = _page(_report())
    assert not page.loads
    assert not page.open
    for text in ("Exact: proven", "2,405", "healed in 11 s", "the worker <is> killed", "0.0032"):
        assert text in page.text, text
    assert "What differs" not in page.text


def test_the_page_of_a_run_that_failed_says_so_first() -> None:
    text = _page(_report(("dynamodb table prove-1-windows",))).text
    assert "Not proven" in text
    assert "Exact" not in text
    assert text.index("What differs") < text.index("What was proven")


def test_the_estimate_is_above_what_such_a_run_costs_and_below_a_dollar() -> None:
    prices = read_prices()
    extent = extent_of(scenario_of(24, 60.0))
    assert extent.messages > 1871
    assert COST["usd"] < most(extent, prices).usd < 1.0


def test_the_estimate_grows_with_everything_that_is_billed() -> None:
    prices, base = read_prices(), Extent(10, 1_000, 10.0, 2)
    for larger in (
        base._replace(devices=100_000), base._replace(messages=1e6),
        base._replace(minutes=70.0), base._replace(shards=4),
    ):  # fmt: skip
        assert most(larger, prices).usd > most(base, prices).usd


def test_a_longer_load_has_the_same_messages_in_more_time() -> None:
    short, long = scenario_of(24, 30.0), scenario_of(24, 120.0)
    assert (short.seconds, long.seconds) == (30.0, 120.0)
    assert extent_of(short).messages == extent_of(long).messages


def test_counts_of_two_lives_of_the_embedded_aws_are_added_up() -> None:
    first = {"kinesis": {"records": 3}, "dynamodb": {"tables": {"w": {"write_units": 2.0}}}}
    second = {"kinesis": {"records": 4, "put_units": 1}, "dynamodb": {"tables": {}}}
    assert added(first, second) == {
        "kinesis": {"records": 7, "put_units": 1},
        "dynamodb": {"tables": {"w": {"write_units": 2.0}}},
    }
