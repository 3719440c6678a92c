"""The worker's small parts: properties, leases, status, histogram, metrics page, supervision."""

from __future__ import annotations

import io
import json
import logging
import random
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from consumers.hot.runs import run_of_one
from consumers.kcl import daemon
from consumers.kcl.capacity import Capacity
from consumers.kcl.first_leases import lease_rows
from consumers.kcl.leases import release
from consumers.logs import logging_to
from consumers.shard.report import LogHandler, LogLine, ShardReport, ShardStats, parse
from consumers.worker.launch import child_command, daemon_environment
from consumers.worker.prometheus import exposition
from consumers.worker.status import WorkerStatus
from consumers.worker.status_server import StatusServer
from ingest.histogram import Histogram
from ingest.settings import Settings

ROOM = Capacity(max_records=2000, heap_mb=512, leases=4)


def test_only_polling_sets_the_idle_time_which_would_force_polling() -> None:
    polling = daemon.properties(Settings(), ROOM, "w", ["child"])
    fanout = daemon.properties(Settings(retrieval="fanout"), ROOM, "w", ["child"])
    assert polling.keys() - fanout.keys() == {"idleTimeBetweenReadsInMillis"}
    assert (polling["retrievalMode"], fanout["retrievalMode"]) == ("POLLING", "FANOUT")


def test_the_daemon_gets_the_properties_that_exactness_needs() -> None:
    values = daemon.properties(Settings(child_timeout_s=77), ROOM, "me", child_command(None))
    assert values["callProcessRecordsEvenForEmptyRecordList"] == "true"
    assert values["timeoutInSeconds"] == str(12 * 77)
    assert values["isGracefulLeaseHandoffEnabled"] == "false"
    assert values["workerId"] == "me"
    assert values["executableName"].endswith("-m consumers.shard.child")


def test_the_time_out_of_an_attempt_reaches_both_clients_of_the_daemon() -> None:
    values = daemon.properties(Settings(), ROOM, "w", ["child"], attempt_timeout_s=1.5)
    for client in ("kinesisClient", "dynamoDbClient"):
        assert values[f"{client}.overrideConfiguration.apiCallAttemptTimeout"] == "PT1.5S"
    assert not any("Timeout" in name for name in daemon.properties(Settings(), ROOM, "w", ["c"]))


def test_endpoints_are_set_only_when_one_is_configured() -> None:
    assert "kinesisEndpoint" not in daemon.properties(Settings(), ROOM, "w", ["child"])
    local = daemon.properties(Settings(endpoint_url="http://127.0.0.1:1"), ROOM, "w", ["child"])
    assert local["kinesisEndpoint"] == local["dynamoDBEndpoint"] == "http://127.0.0.1:1"


def test_backslashes_in_properties_are_escaped() -> None:
    assert daemon.properties_text({"a": "b\\c"}) == "a = b\\\\c\n"


def _shard(name: str, *parents: str, closed: bool = False) -> dict[str, Any]:
    names = dict(zip(("ParentShardId", "AdjacentParentShardId"), parents, strict=False))
    end = {"EndingSequenceNumber": "5"} if closed else {}
    hashes = {"StartingHashKey": "0", "EndingHashKey": "9"}
    return {"ShardId": name, "HashKeyRange": hashes, "SequenceNumberRange": end, **names}


RESHARDED = [
    _shard("split", closed=True),
    _shard("half", "split"),
    _shard("merged-a", "expired", closed=True),
    _shard("merged-b", closed=True),
    _shard("both", "merged-a", "merged-b"),
    _shard("whole"),
]


@pytest.mark.parametrize(
    ("position", "names"),
    [
        ("LATEST", ["half", "both", "whole"]),
        ("TRIM_HORIZON", ["split", "merged-a", "merged-b", "whole"]),
    ],
)
def test_a_new_application_begins_with_the_shards_that_its_position_asks_for(
    position: str, names: list[str]
) -> None:
    """From TRIM_HORIZON on, a closed shard's records come before its children's."""
    rows = lease_rows(RESHARDED, position)
    assert [row["leaseKey"]["S"] for row in rows] == names
    assert {row["checkpoint"]["S"] for row in rows} == {position}


class LeaseTables:
    """A DynamoDB client over the KCL's three tables, with their owners."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {
            "app": [_lease("s-0", "dead"), _lease("s-1", "alive"), _lease("s-2", None)],
            "app-CoordinatorState": [
                {"key": {"S": "Leader"}, "ownerName": {"S": "dead"}},
                {"key": {"S": "Migration3.0"}},
            ],
            "app-WorkerMetricStats": [{"wid": {"S": "dead"}}, {"wid": {"S": "alive"}}],
        }
        self.taken_meanwhile = False

    def get_paginator(self, _: str) -> Any:
        tables = self.tables

        class Pages:
            def paginate(self, *, TableName: str, ConsistentRead: bool) -> Any:
                if TableName not in tables:
                    code = "ResourceNotFoundException"
                    raise ClientError({"Error": {"Code": code, "Message": ""}}, "Scan")
                return [{"Items": list(tables[TableName])}]

        return Pages()

    def _find(self, request: Any, owner: str) -> dict[str, Any]:
        key = request["Key"]
        row = next(r for r in self.tables[request["TableName"]] if key.items() <= r.items())
        if self.taken_meanwhile:
            row[owner] = {"S": "alive"}
        if row[owner] != request["ExpressionAttributeValues"][":o"]:
            code = "ConditionalCheckFailedException"
            raise ClientError({"Error": {"Code": code, "Message": ""}}, "Write")
        return row

    def delete_item(self, **request: Any) -> None:
        row = self._find(request, request["ExpressionAttributeNames"]["#o"])
        self.tables[request["TableName"]].remove(row)

    def update_item(self, **request: Any) -> None:
        del self._find(request, "leaseOwner")["leaseOwner"]


def _lease(shard: str, owner: str | None) -> dict[str, Any]:
    return {"leaseKey": {"S": shard}} | ({"leaseOwner": {"S": owner}} if owner else {})


def test_release_frees_what_a_dead_worker_held_and_nothing_of_a_living_one() -> None:
    tables = LeaseTables()
    assert release(tables, "app", "dead") == 3  # type: ignore[arg-type]
    assert tables.tables["app"] == [
        _lease("s-0", None),
        _lease("s-1", "alive"),
        _lease("s-2", None),
    ]
    assert tables.tables["app-CoordinatorState"] == [{"key": {"S": "Migration3.0"}}]
    assert tables.tables["app-WorkerMetricStats"] == [{"wid": {"S": "alive"}}]


def test_release_leaves_a_lease_that_a_living_worker_has_taken_since() -> None:
    tables = LeaseTables()
    tables.taken_meanwhile = True
    assert release(tables, "app", "dead") == 0  # type: ignore[arg-type]
    assert len(tables.tables["app-CoordinatorState"]) == 2


def test_release_of_an_application_that_never_ran_frees_nothing() -> None:
    tables = LeaseTables()
    tables.tables = {}
    assert release(tables, "app") == 0  # type: ignore[arg-type]


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=300))
def test_a_percentile_is_never_too_low_and_at_most_five_percent_too_high(ms: list[float]) -> None:
    histogram = Histogram()
    for value in ms:
        histogram.add(value)
    for share in (0.5, 0.95, 0.99):
        true = sorted(ms)[max(0, -int(-share * len(ms) // 1) - 1)]
        read = histogram.percentile(share)
        assert read is not None
        assert true * 0.999 - 0.1 <= read <= true * 1.051 + 0.1


def test_merged_histograms_count_every_duration() -> None:
    chance = random.Random(1)
    parts = [Histogram(), Histogram()]
    for _ in range(500):
        chance.choice(parts).add(chance.uniform(1, 100))
    assert Histogram().merge(parts).total == 500
    assert Histogram().percentile(0.5) is None


def stats() -> tuple[ShardStats, list[bytes]]:
    lines: list[bytes] = []
    return ShardStats("s-0", lambda: 2_000, lines.append), lines


def test_a_child_reports_in_lines_that_its_worker_reads() -> None:
    child, lines = stats()
    child.count("ok")
    child.count("malformed")
    child.durable("d", [run_of_one("b", 0, 1_500, {})])
    child.committed("key")
    child.send_due(10.0)
    child.send_due(10.5)  # too soon
    child.send_due(10.6, force=True)
    handler = LogHandler(lines.append)
    handler.shard = "s-0"
    handler.emit(logging.LogRecord("x", logging.ERROR, "", 0, "some%s", ("thing",), None))
    assert len(lines) == 3
    report = parse(lines[1].strip())
    assert isinstance(report, ShardReport)
    assert report.dispositions == {"ok": 1, "malformed": 1}
    assert (report.durable, report.first_durable_at, report.commits) == (1, 2_000, 1)
    assert parse(lines[2].strip()) == LogLine("error", "s-0", "something")
    for other in (b"", b"warning", b'{"penstock":"?"}', b'{"penstock":'):
        assert parse(other) is None


def board() -> WorkerStatus:
    kept = WorkerStatus()
    kept.report(ShardReport("s-0", 1, records=5, dispositions={"ok": 5}, latency={10: 5}))
    kept.report(ShardReport("s-0", 2, records=3, dispositions={"ok": 2, "late": 1}, behind_ms=70))
    kept.report(ShardReport("s-1", 3, records=2, dispositions={"ok": 2}, first_durable_at=9))
    kept.report(ShardReport("s-1", 3, records=4, dispositions={"ok": 4}, first_durable_at=9))
    kept.log(LogLine("error", "s-0", "something"))
    return kept


def test_the_counts_of_a_shard_add_up_over_its_children() -> None:
    snapshot = board().snapshot()
    assert snapshot["records"] == 5 + 3 + 4
    assert snapshot["dispositions"] == {"ok": 11, "late": 1}
    assert [(s["shard"], s["pid"], s["records"]) for s in snapshot["shards"]] == [
        ("s-0", 2, 8),
        ("s-1", 3, 4),
    ]
    assert snapshot["first_durable_at"] == 9


def test_the_metrics_page_is_prometheus_text() -> None:
    page = exposition(board().snapshot(), board().latency()).decode()
    assert 'penstock_readings_total{disposition="ok"} 11' in page
    assert 'penstock_shard_lag_seconds{shard="s-0"} 0.07' in page
    assert 'penstock_latency_seconds_bucket{le="+Inf"} 5' in page
    for line in page.splitlines():
        assert line.startswith(("# HELP penstock_", "# TYPE penstock_", "penstock_"))
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert families["penstock_records"].type == "counter"
    assert families["penstock_latency_seconds"].type == "histogram"


def test_status_is_served_on_loopback_and_unknown_pages_are_not_found() -> None:
    with StatusServer(board(), 0) as server:
        base = f"http://127.0.0.1:{server.port}"
        assert json.load(urllib.request.urlopen(f"{base}/status"))["records"] == 12
        assert b"penstock_records_total 12" in urllib.request.urlopen(f"{base}/metrics").read()
        assert urllib.request.urlopen(f"{base}/healthz").read() == b"ok\n"
        with pytest.raises(urllib.error.HTTPError) as missing:
            urllib.request.urlopen(f"{base}/etc/passwd")
        missing.value.close()
        assert missing.value.code == 404
        with pytest.raises(OSError):
            StatusServer(board(), server.port)


def test_a_daemon_with_a_role_of_its_own_sees_no_other_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the user's")
    monkeypatch.setenv("AWS_PROFILE", "the user's")
    own = daemon_environment(Settings(), {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "t"})
    assert "the user's" not in own.values()
    assert own["AWS_REGION"] == "us-east-1"
    assert daemon_environment(Settings())["AWS_PROFILE"] == "the user's"


class FakeDaemon:
    """A worker whose daemon leaves as often as told; nothing is started."""

    def __init__(self, exits: int) -> None:
        from consumers.worker.supervisor import Worker

        self.stopping = threading.Event()
        self.said: list[str] = []
        self.released: list[str] = []
        self.worker = Worker(
            Settings(),
            "000000000000",
            directory=Path(),
            environment={},
            output=io.BytesIO(),
            release=self.released.append,
        )
        self.left = exits
        self.started: list[str] = []
        self.worker.exit_code = self._exit_code  # type: ignore[method-assign]
        self.worker.start = self._start  # type: ignore[method-assign]

    def _exit_code(self) -> int | None:
        if self.left == 0:
            self.stopping.set()
            return None
        self.left -= 1
        return 1

    def _start(self) -> None:
        self.started.append(f"worker-{len(self.started)}")
        self.worker.worker_id = self.started[-1]


def test_a_daemon_that_leaves_is_started_again_after_its_leases_were_given_back() -> None:
    fake = FakeDaemon(exits=2)
    fake.worker.worker_id = "first"
    with logging_to(on_message=fake.said.append):
        fake.worker.run(fake.stopping, lambda: 0.0)
    assert fake.released == ["first", "worker-0"]
    assert fake.started == ["worker-0", "worker-1"]
    assert fake.worker.status.restarts == 2
    assert "starting it again" in fake.said[0]
    fake.worker.__exit__()


def test_a_worker_that_is_stopped_gives_its_leases_back_at_once() -> None:
    """The KCL assigned leases to a stopped worker for another minute."""
    fake = FakeDaemon(exits=0)
    fake.worker.worker_id = "stopped"
    fake.worker._process = subprocess.Popen(["true"], start_new_session=True)
    fake.worker.__exit__()
    assert fake.released == ["stopped"]
