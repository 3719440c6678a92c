"""The embedded AWS refuses what Kinesis refuses, and counts what it charges.

Sources: Kinesis developer guide, "Quotas and limits"; API reference, PutRecords and GetRecords;
the wording of refusals from kinesis-readable issue 4 and kinesalite pull request 87.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.emulator.process import Emulator
from infra.emulator.usage import read_usage
from tests.integration.conftest import STACK, target_of

pytestmark = STACK
STREAM = "strict"


@pytest.fixture
def kinesis(emulator: Emulator) -> Iterator[Any]:
    """A client that does not retry, and a new stream of one shard."""
    client: Any = (
        target_of(emulator)
        .session()
        .client(
            "kinesis",
            endpoint_url=emulator.endpoint_url,
            config=Config(retries={"total_max_attempts": 1}),
        )
    )
    client.create_stream(StreamName=STREAM, ShardCount=1)
    yield client
    client.delete_stream(StreamName=STREAM)


def put(kinesis: Any, count: int, size: int) -> Any:
    return kinesis.put_records(
        StreamName=STREAM, Records=[{"Data": b"x" * size, "PartitionKey": "k"}] * count
    )


def iterator_of(kinesis: Any) -> str:
    shard = kinesis.list_shards(StreamName=STREAM)["Shards"][0]["ShardId"]
    return str(
        kinesis.get_shard_iterator(
            StreamName=STREAM, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
    )


def test_records_beyond_1000_a_second_fail_inside_a_200(kinesis: Any) -> None:
    answers = [put(kinesis, 500, 10) for _ in range(3)]
    assert answers[0]["FailedRecordCount"] == 0
    failed = [
        record for answer in answers for record in answer["Records"] if record.get("ErrorCode")
    ]
    assert 0 < len(failed) <= 500
    assert len(failed) == sum(answer["FailedRecordCount"] for answer in answers)
    assert {record["ErrorCode"] for record in failed} == {"ProvisionedThroughputExceededException"}
    assert failed[0]["ErrorMessage"] == (
        f"Rate exceeded for shard shardId-000000000000 in stream {STREAM} under account "
        "000000000000."
    )
    assert "SequenceNumber" not in failed[0]
    time.sleep(0.1)  # a tenth of a second's records: the refused ones are taken when sent again
    assert put(kinesis, 50, 10)["FailedRecordCount"] == 0


def test_a_mebibyte_a_second_is_taken_and_no_more(kinesis: Any) -> None:
    answer = put(kinesis, 4, 500_000)
    assert [bool(record.get("ErrorCode")) for record in answer["Records"]] == [
        False, False, True, True,
    ]  # fmt: skip
    with pytest.raises(ClientError, match="ProvisionedThroughputExceeded"):
        kinesis.put_record(StreamName=STREAM, PartitionKey="k", Data=b"x" * 900_000)


def test_what_was_refused_is_not_in_the_stream(kinesis: Any) -> None:
    taken = sum(500 - put(kinesis, 500, 10)["FailedRecordCount"] for _ in range(4))
    answer = kinesis.get_records(ShardIterator=iterator_of(kinesis))
    assert len(answer["Records"]) == taken


def test_a_record_has_a_mebibyte_and_a_call_500_records(kinesis: Any) -> None:
    kinesis.put_record(StreamName=STREAM, PartitionKey="k", Data=b"x" * 1024 * 1024)
    calls: list[Callable[[], Any]] = [
        lambda: kinesis.put_record(
            StreamName=STREAM, PartitionKey="k", Data=b"x" * (1024 * 1024 + 1)
        ),
        lambda: put(kinesis, 501, 1),
        lambda: put(kinesis, 6, 1024 * 1024),
    ]
    for call in calls:
        with pytest.raises(ClientError, match="ValidationException"):
            call()


def test_a_shard_is_read_five_times_a_second(kinesis: Any) -> None:
    iterator = iterator_of(kinesis)
    for _ in range(5):
        kinesis.get_records(ShardIterator=iterator)
    with pytest.raises(ClientError, match="Rate exceeded for shard shardId-000000000000"):
        collections.deque(kinesis.get_records(ShardIterator=iterator) for _ in range(5))


def test_a_read_of_much_makes_the_next_ones_wait(kinesis: Any) -> None:
    put(kinesis, 2, 500_000)
    iterator = iterator_of(kinesis)
    started = time.monotonic()
    first = kinesis.get_records(ShardIterator=iterator)
    assert len(first["Records"]) == 2
    with pytest.raises(ClientError, match="ProvisionedThroughputExceeded"):
        kinesis.get_records(ShardIterator=first["NextShardIterator"])
    deadline = started + 10
    while True:
        try:
            kinesis.get_records(ShardIterator=first["NextShardIterator"])
            break
        except ClientError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert time.monotonic() - started >= 0.45  # a megabyte at 2 MiB/s


def test_fan_out_pushes_two_mebibytes_a_second(kinesis: Any) -> None:
    """Developer guide, "Develop enhanced fan-out consumers"."""
    stream = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]
    consumer = kinesis.register_stream_consumer(
        StreamARN=stream["StreamARN"], ConsumerName="quick"
    )["Consumer"]["ConsumerARN"]
    put(kinesis, 2, 500_000)
    events = kinesis.subscribe_to_shard(
        ConsumerARN=consumer,
        ShardId="shardId-000000000000",
        StartingPosition={"Type": "TRIM_HORIZON"},
    )["EventStream"]
    started = time.monotonic()
    for event in events:
        if event["SubscribeToShardEvent"]["Records"]:
            started = time.monotonic()
            kinesis.put_record(StreamName=STREAM, PartitionKey="k", Data=b"next")
            break
    for event in events:
        if event["SubscribeToShardEvent"]["Records"]:
            break
    events.close()
    assert time.monotonic() - started >= 0.4  # a megabyte at 2 MiB/s


def test_records_units_and_reads_are_counted(emulator: Emulator, kinesis: Any) -> None:
    """Kinesis pricing: a PUT payload unit is 25 KB."""
    before = read_usage(emulator.endpoint_url)
    put(kinesis, 3, 30 * 1024)
    kinesis.get_records(ShardIterator=iterator_of(kinesis))
    counts = read_usage(emulator.endpoint_url).since(before).as_document()["kinesis"]
    assert {name: counts[name] for name in ("records", "put_units", "records_out")} == {
        "records": 3, "put_units": 6, "records_out": 3,
    }  # fmt: skip
    assert counts["bytes_in"] == 3 * (30 * 1024 + 1)
