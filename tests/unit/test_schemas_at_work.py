"""What a shard's process knows of schemas and types, and when it reads them again."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from consumers.exceptions import GaveUpError, StoreError
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.store import HotStore
from consumers.record import ShardRecord
from consumers.schemas.at_work import NO_TYPE_S, READ_S, STALE_S, TYPE_S, SchemasAtWork
from consumers.schemas.judge import Judge
from consumers.shard.fold_queue import FoldQueue
from consumers.shard.report import ShardStats
from ingest.schemas.schema import LEAD_MS
from tests.harness.schemas import StatusTable, schema
from tests.harness.shard import NOW, TIERS, backoff, payload
from tests.harness.stores import MemoryDynamo

FORCE = NOW + LEAD_MS


class Setting:
    """A status table with one schema, a roster, and a clock."""

    def __init__(self) -> None:
        self.table = StatusTable()
        self.table.apply([schema(1, 0, 10)], NOW)
        self.roster = MemoryDynamo()
        self.items: dict[Any, Any] = {("pump-1",): {"type": {"S": "pump"}}}
        self.roster.tables["devices"] = self.items
        self.now = 1_000.0
        self.at_work = SchemasAtWork(
            self.table, "status", self.roster, "devices",  # type: ignore[arg-type]
            clock=lambda: self.now, backoff=backoff,
        )  # fmt: skip

    def judge(self, *devices: str) -> Judge:
        judge = self.at_work.judge_for(devices)
        assert judge is not None
        return judge

    def quarantines(self, device: str, value: float) -> bool:
        return self.judge(device).quarantines(device, FORCE, {"a": value})


def throttled() -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException"}}, "GetItem")


def test_without_schemas_nothing_is_judged_and_no_type_is_read() -> None:
    setting = Setting()
    setting.table = StatusTable()
    at_work = SchemasAtWork(setting.table, "s", setting.roster, "d", lambda: 9.0)  # type: ignore[arg-type]
    setting.roster.fault = lambda _: "throttle"
    assert at_work.judge_for({"pump-1"}) is None


def test_schemas_are_read_again_before_they_can_be_stale_and_not_at_each_fold() -> None:
    setting = Setting()
    for _ in range(5):
        setting.judge("pump-1")
    assert setting.table.reads == 1
    setting.now += READ_S
    setting.judge("pump-1")
    assert setting.table.reads == 2
    assert READ_S < STALE_S < LEAD_MS / 1000


def test_a_read_that_fails_leaves_what_is_known_while_it_cannot_be_stale() -> None:
    setting = Setting()
    setting.judge("pump-1")
    setting.now += READ_S
    setting.table.fail = [EndpointConnectionError(endpoint_url="x")]
    assert setting.quarantines("pump-1", 11)


def test_nothing_is_folded_by_schemas_that_may_be_stale() -> None:
    setting = Setting()
    setting.judge("pump-1")
    setting.now += STALE_S
    setting.table.apply([schema(2, 0, 20)], NOW + 1)
    setting.table.fail = [throttled(), throttled(), throttled()]
    reads = setting.table.reads
    setting.judge("pump-1")
    assert setting.table.reads == reads + 4


def test_a_process_ends_when_it_may_not_read_the_schemas() -> None:
    setting = Setting()
    setting.table.fail = [ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetItem")]
    with pytest.raises(StoreError, match="deploy the stack again"):
        setting.judge("pump-1")


def test_a_device_is_judged_by_the_schema_of_its_type_and_others_are_not() -> None:
    setting = Setting()
    setting.items["meter-1",] = {"type": {"S": "meter"}}
    assert setting.quarantines("pump-1", 11)
    assert not setting.quarantines("pump-1", 10)
    assert not setting.quarantines("meter-1", 11)
    assert not setting.quarantines("unknown", 11)


def test_a_type_is_read_again_after_a_while_and_a_missing_one_soon() -> None:
    setting = Setting()
    assert not setting.quarantines("new", 11)
    setting.items["new",] = {"type": {"S": "pump"}}
    setting.now += NO_TYPE_S
    assert setting.quarantines("new", 11)
    setting.items["pump-1",] = {"type": {"S": "meter"}}
    setting.now += TYPE_S
    assert not setting.quarantines("pump-1", 11)


def test_types_that_the_roster_does_not_give_at_once_are_asked_for_again() -> None:
    setting = Setting()
    faults = ["throttle", "ok"]
    setting.roster.fault = lambda _: faults.pop(0) if faults else "ok"
    assert setting.quarantines("pump-1", 11)


def test_a_roster_that_never_answers_ends_the_process() -> None:
    setting = Setting()
    setting.roster.fault = lambda _: "throttle"
    clock = iter(range(0, 10**6, 30))
    from consumers.aws.backoff import Backoff

    setting.at_work._backoff = lambda: Backoff(lambda _: None, lambda: float(next(clock)))
    with pytest.raises(GaveUpError):
        setting.judge("pump-1")


def fold(values: list[list[float]], *, outside: str, arrived: list[int]) -> tuple[Any, ShardStats]:
    """Fold a device's messages at once; each one's dispositions, and the counts."""
    setting = Setting()
    setting.table.history = StatusTable().history
    setting.table.apply([schema(1, 0, 10, outside=outside)], NOW)  # type: ignore[arg-type]
    stats = ShardStats("s", lambda: NOW, write=lambda _: None)
    hot = HotStore(
        MemoryDynamo(), windows_table="windows", devices_table=None, tiers=TIERS,
        latest_flush_s=1.0, now_ms=lambda: NOW, durable=lambda _device, _runs: None,
    )  # fmt: skip
    queue = FoldQueue(
        hot, LatenessPolicy(TIERS, 600), stats, judge_for=setting.at_work.judge_for
    )  # fmt: skip
    records = []
    seq = 0
    for number, (message, at) in enumerate(zip(values, arrived, strict=True)):
        data = payload("boot-one", seq, [(NOW, {"a": value}) for value in message])
        seq += len(message)
        records.append(ShardRecord("pump-1", NOW, at, str(number), 0, data))
        queue.add(records[-1])
    queue.fold()
    return [one.dispositions or [one.disposition] * one.readings for one in records], stats


def test_only_the_readings_outside_are_quarantined() -> None:
    found, stats = fold([[1, 11], [2]], outside="quarantine", arrived=[FORCE, FORCE])
    assert found == [["ok", "quarantined"], ["ok"]]
    assert stats.report.dispositions == {"ok": 2, "quarantined": 1}
    assert stats.report.rejected_devices["pump-1"].dispositions == {"quarantined": 1}


def test_records_are_judged_by_their_own_arrival_within_one_fold() -> None:
    found, _ = fold([[11], [11]], outside="quarantine", arrived=[FORCE - 1, FORCE])
    assert found == [["ok"], ["quarantined"]]


def test_a_schema_that_warns_counts_and_folds() -> None:
    found, stats = fold([[1, 11], [12]], outside="warn", arrived=[FORCE, FORCE])
    assert found == [["ok", "ok"], ["ok"]]
    assert stats.report.outside == 2
