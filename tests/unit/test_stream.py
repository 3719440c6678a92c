from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ingest.stream import MAX_BATCH_BYTES, PutError, Record, batches, put_all


class Kinesis:
    """Fails the records that the plan of each call names, and keeps the others."""

    def __init__(self, *plan: dict[int, str]) -> None:
        self.plan = list(plan)
        self.stored: list[bytes] = []
        self.calls: list[int] = []

    def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:
        self.calls.append(len(Records))
        fails = self.plan.pop(0) if self.plan else {}
        self.stored += [r["Data"] for i, r in enumerate(Records) if i not in fails]
        return {
            "FailedRecordCount": len(fails),
            "Records": [
                {"ErrorCode": fails[i]} if i in fails else {"SequenceNumber": "1"}
                for i in range(len(Records))
            ],
        }


RECORDS = [Record(bytes([i]), f"dev-{i}") for i in range(5)]
THROTTLE = "ProvisionedThroughputExceededException"


def put(client: Kinesis) -> int:
    return put_all(client, "s", RECORDS, sleep=lambda _: None, jitter=lambda: 1.0)


def test_only_the_records_that_failed_are_sent_again() -> None:
    client = Kinesis({1: THROTTLE, 3: "InternalFailure"}, {1: THROTTLE})
    assert put(client) == 5
    assert client.calls == [5, 2, 1]
    assert sorted(client.stored) == [r.data for r in RECORDS]


def test_a_failure_that_no_retry_mends_names_what_is_unsent() -> None:
    client = Kinesis({2: "AccessDenied"})
    with pytest.raises(PutError, match="AccessDenied") as caught:
        put(client)
    assert caught.value.unsent == [RECORDS[2]]


def test_it_gives_up_after_ten_attempts_and_says_what_to_do() -> None:
    client = Kinesis(*[{0: THROTTLE}] * 20)
    with pytest.raises(PutError, match="add shards or send slower"):
        put(client)
    assert len(client.calls) == 10


def test_a_shard_that_takes_a_record_at_a_time_takes_them_all() -> None:
    many = [Record(bytes([i]), "one device") for i in range(30)]
    client = Kinesis(*[dict.fromkeys(range(1, 30 - n), THROTTLE) for n in range(29)])
    assert put_all(client, "s", many, sleep=lambda _: None, jitter=lambda: 1.0) == 30
    assert len(client.calls) == 30
    assert client.stored == [record.data for record in many]


def test_batches_respect_both_limits_and_keep_the_order() -> None:
    many = [Record(b"x", "k")] * 1201
    assert [len(batch) for batch in batches(many)] == [500, 500, 201]
    heavy = [Record(bytes(MAX_BATCH_BYTES // 2), "k")] * 3
    assert [len(batch) for batch in batches(heavy)] == [1, 1, 1]
    assert list(batches([])) == []
