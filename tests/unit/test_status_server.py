"""Health that means something, and pages that only whom they are for can read."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from consumers.shard.report import Reject, ShardReport, Traced
from consumers.worker.status import CHILD, STALE_S, STUCK_S, WorkerStatus
from consumers.worker.status_server import StatusServer, is_own_name

TOKEN = "secret"
openmetrics: Any = parser.text_string_to_metric_families


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def status(clock: Clock) -> WorkerStatus:
    board = WorkerStatus(clock)
    board.report(ShardReport("s-0", 1, rejects=[Reject("d", "malformed", 5, "personal")]))
    board.watched("")
    return board


@pytest.fixture
def server(status: WorkerStatus) -> Iterator[StatusServer]:
    with StatusServer(status, 0, token=TOKEN) as running:
        yield running


def get(server: StatusServer, path: str, **headers: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{server.port}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_a_worker_that_holds_what_it_should_and_hears_of_it_is_ready(server: StatusServer) -> None:
    assert get(server, "/readyz") == (200, "ok\n")
    assert get(server, "/livez") == (200, "ok\n")


def test_a_worker_is_not_ready_before_its_supervisor_has_looked() -> None:
    with StatusServer(WorkerStatus(), 0) as server:
        assert get(server, "/readyz") == (503, "the daemon starts\n")
        assert get(server, "/livez")[0] == 200


def test_a_worker_without_a_shard_that_it_should_have_is_not_ready(
    server: StatusServer, status: WorkerStatus
) -> None:
    status.watched("no word yet of s-1")
    assert get(server, "/readyz") == (503, "no word yet of s-1\n")


def test_a_shard_that_is_silent_makes_the_worker_unready_and_not_dead(
    server: StatusServer, status: WorkerStatus, clock: Clock
) -> None:
    clock.now = STALE_S + 1
    status.watched("")
    assert get(server, "/readyz")[0] == 503
    assert "s-0" in get(server, "/readyz")[1]
    assert get(server, "/livez")[0] == 200


def test_a_supervisor_that_stands_still_is_not_alive(server: StatusServer, clock: Clock) -> None:
    clock.now = STUCK_S + 1
    assert get(server, "/livez")[0] == 503


def test_a_lost_shard_is_not_waited_for(server: StatusServer, status: WorkerStatus) -> None:
    status.report(ShardReport("s-0", 1, lease_lost=True))
    status.report(ShardReport("s-1", 2, ended=True))
    assert status.working() == {}


def test_beginnings_of_payloads_are_shown_to_who_has_the_token(server: StatusServer) -> None:
    def shown(**headers: str) -> bool:
        return "preview" in json.loads(get(server, "/status", **headers)[1])["rejects"][0]

    assert shown(Authorization=f"Bearer {TOKEN}")
    assert not shown()
    assert not shown(Authorization="Bearer other")


def test_without_a_token_nobody_sees_them(status: WorkerStatus) -> None:
    with StatusServer(status, 0) as server:
        assert "personal" not in get(server, "/status", Authorization="Bearer ")[1]
        assert "personal" not in get(server, "/status", Authorization="Bearer None")[1]


def test_a_page_of_another_name_is_refused(server: StatusServer) -> None:
    assert get(server, "/status", Host="evil.example")[0] == 421
    assert get(server, "/status", Host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize(
    ("header", "own"),
    [("127.0.0.1:9464", True), ("[::1]:9464", True), ("10.0.0.7", True), ("LOCALHOST", True),
     ("worker.internal:1", True), ("evil.example", False), ("", False), ("127.0.0.1.evil", False)],
)  # fmt: skip
def test_a_host_header_is_an_address_or_a_name_of_this_machine(header: str, own: bool) -> None:
    assert is_own_name(header, "worker.internal") is own


def test_restarts_are_counted_by_cause_of_a_child_too(status: WorkerStatus) -> None:
    status.restarted("out_of_memory")
    status.report(ShardReport("s-0", 2, replaced=1))
    status.report(ShardReport("s-0", 2, replaced=1))
    assert status.snapshot()["restarts_by_cause"] == {CHILD: 1, "out_of_memory": 1}
    assert status.restarts == 2


def test_healthz_says_up_or_down_and_nothing_else(server: StatusServer, clock: Clock) -> None:
    assert get(server, "/healthz") == (200, "ok\n")
    clock.now = STUCK_S + 1
    assert get(server, "/healthz") == (503, "down\n")
    assert get(server, "/healthz", Authorization=f"Bearer {TOKEN}") == (503, "down\n")


def test_beyond_loopback_why_a_worker_is_unready_is_for_who_has_the_token(
    status: WorkerStatus,
) -> None:
    status.watched("no word yet of s-1")
    with StatusServer(status, 0, host="0.0.0.0", token=TOKEN) as server:
        assert get(server, "/readyz") == (503, "down\n")
        told = get(server, "/readyz", Authorization=f"Bearer {TOKEN}")
        assert told == (503, "no word yet of s-1\n")


def test_a_token_of_any_characters_is_compared_byte_by_byte(status: WorkerStatus) -> None:
    token = "gehe\u00efm-\u20ac"
    with StatusServer(status, 0, token=token) as server:
        as_sent = f"Bearer {token}".encode().decode("latin-1")
        assert "personal" in get(server, "/status", Authorization=as_sent)[1]
        assert "personal" not in get(server, "/status", Authorization="Bearer gehe\u00efm-?")[1]


def test_the_metrics_name_the_traces_of_sampled_messages_to_who_reads_openmetrics(
    server: StatusServer, status: WorkerStatus
) -> None:
    traced = [Traced("a" * 32, 400, 1_000), Traced("b" * 32, 450, 2_000), Traced("c" * 32, 1, 1)]
    status.report(ShardReport("s-0", 1, latency={}, dispositions={}, traced=traced))
    asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    _, page = get(server, "/metrics", Accept=asked)
    families = {one.name: one for one in openmetrics(page)}
    exemplars = {
        sample.labels["le"]: (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for sample in families["penstock_latency_seconds"].samples
        if sample.exemplar
    }
    assert exemplars == {"0.1": ("c" * 32, 0.001), "0.5": ("b" * 32, 0.45)}
    _, plain = get(server, "/metrics")
    assert "trace_id" not in plain
    assert "# EOF" not in plain
    assert "penstock_latency_seconds_bucket" in plain
