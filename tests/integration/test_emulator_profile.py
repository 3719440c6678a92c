"""The profile "like AWS": calls take their time, tables have a capacity, reads may be stale."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.emulator.limits.latency import latency_of
from infra.emulator.process import Emulator
from infra.emulator.profile import LIKE_AWS, STRICT, WITHOUT_SHARD_RATES, Profile
from infra.emulator.usage import read_usage
from tests.integration.conftest import STACK, eventually, target_of

pytestmark = STACK
ONCE = Config(retries={"total_max_attempts": 1}, max_pool_connections=50)
KEYS = [{"AttributeName": "device", "KeyType": "HASH"}]
NAMES = [{"AttributeName": "device", "AttributeType": "S"}]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One of this module's own: its profile changes from test to test."""
    running = Emulator.start(tmp_path_factory.mktemp("like-aws"), profile=STRICT)
    yield running
    running.stop()


@pytest.fixture
def become(aws: Emulator) -> Iterator[Callable[[Profile], None]]:
    yield lambda profile: aws.become(profile)
    aws.become(STRICT)


def client_of(aws: Emulator, service: str = "dynamodb") -> Any:
    session = target_of(aws).session()
    return session.client(service, endpoint_url=aws.endpoint_url, config=ONCE)  # type: ignore[call-overload]


@contextmanager
def table(dynamodb: Any, name: str) -> Iterator[str]:
    dynamodb.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=KEYS, AttributeDefinitions=NAMES
    )
    try:
        yield name
    finally:
        dynamodb.delete_table(TableName=name)


def insert(name: str, device: str) -> dict[str, Any]:
    return {
        "Statement": f"INSERT INTO \"{name}\" VALUE {{'device': ?}}",
        "Parameters": [{"S": device}],
    }


def test_a_process_is_started_with_a_profile(tmp_path: Any) -> None:
    running = Emulator.start(tmp_path, profile=LIKE_AWS)
    try:
        assert read_usage(running.endpoint_url).profile == "like-aws"
    finally:
        running.stop()


def test_calls_take_their_time_and_do_not_wait_for_each_other(
    aws: Emulator, become: Callable[[Profile], None]
) -> None:
    """Issue 12: a DynamoDB batch has p50 10 ms and p99 40 ms, S3's put p50 60 ms."""
    dynamodb = client_of(aws)
    with table(dynamodb, "slow") as name:

        def one(number: int) -> float:
            started = time.monotonic()
            dynamodb.batch_execute_statement(Statements=[insert(name, f"d-{number}")])
            return time.monotonic() - started

        become(Profile(name="slow", latency=20.0))
        started = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            taken = sorted(pool.map(one, range(40)))
        elapsed = time.monotonic() - started
    wanted = 20 * latency_of("dynamodb", "BatchExecuteStatement").p50 / 1000
    assert taken[20] == pytest.approx(wanted, rel=0.6)
    assert elapsed < sum(taken) / 4  # twenty at a time, not one after the other


def test_a_table_without_capacity_refuses_statements_one_by_one(
    aws: Emulator, become: Callable[[Profile], None]
) -> None:
    """boto3 issue 3834: code and message of a throttled statement."""
    dynamodb = client_of(aws)
    with table(dynamodb, "cold") as name:
        become(Profile(name="cold", table_writes=10))
        answer = dynamodb.batch_execute_statement(
            Statements=[insert(name, f"d-{n}") for n in range(25)]
        )
        errors = [one["Error"] for one in answer["Responses"] if "Error" in one]
        assert len(errors) == 15
        assert {error["Code"] for error in errors} == {"ThrottlingError"}
        assert errors[0]["Message"].startswith(
            "Throughput exceeds the current capacity of your table or index."
        )
        assert dynamodb.scan(TableName=name)["Count"] == 10
        assert read_usage(aws.endpoint_url).tables[name].throttled == 15


def test_a_table_without_capacity_refuses_calls_and_leaves_batches_unprocessed(
    aws: Emulator, become: Callable[[Profile], None]
) -> None:
    """aws-sdk-java issue 2222 (an on-demand table), API reference BatchWriteItem."""
    dynamodb = client_of(aws)
    with table(dynamodb, "cold") as name:
        become(Profile(name="cold", table_writes=3))
        puts = [{"PutRequest": {"Item": {"device": {"S": f"d-{n}"}}}} for n in range(5)]
        answer = dynamodb.batch_write_item(RequestItems={name: puts})
        assert len(answer["UnprocessedItems"][name]) == 2
        with pytest.raises(ClientError, match="ThrottlingException"):
            dynamodb.put_item(TableName=name, Item={"device": {"S": "one more"}})
        with pytest.raises(ClientError, match="ThrottlingException"):
            dynamodb.batch_write_item(RequestItems={name: puts})
        assert dynamodb.scan(TableName=name)["Count"] == 3


def test_a_provisioned_table_is_throttled_in_its_own_words(
    aws: Emulator, become: Callable[[Profile], None]
) -> None:
    """API reference, ProvisionedThroughputExceededException."""
    dynamodb = client_of(aws)
    dynamodb.create_table(
        TableName="provisioned", KeySchema=KEYS, AttributeDefinitions=NAMES,
        ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
    )  # fmt: skip
    become(Profile(name="partition", partition_writes=1))
    write = {"TableName": "provisioned", "Item": {"device": {"S": "same"}}}
    dynamodb.put_item(**write)
    with pytest.raises(ClientError, match="ProvisionedThroughputExceededException"):
        dynamodb.put_item(**write)
    dynamodb.delete_table(TableName="provisioned")


def test_a_read_may_be_stale_unless_it_is_consistent(
    aws: Emulator, become: Callable[[Profile], None]
) -> None:
    """Developer guide, "DynamoDB read consistency"."""
    dynamodb = client_of(aws)
    with table(dynamodb, "stale") as name:
        become(Profile(name="stale", staleness=1000.0))
        key = {"device": {"S": "d"}}
        dynamodb.put_item(TableName=name, Item={**key, "n": {"N": "1"}})
        assert "Item" not in dynamodb.get_item(TableName=name, Key=key)
        assert dynamodb.scan(TableName=name)["Count"] == 0
        assert dynamodb.batch_get_item(RequestItems={name: {"Keys": [key]}})["Responses"] == {
            name: []
        }
        consistent = dynamodb.get_item(TableName=name, Key=key, ConsistentRead=True)
        assert consistent["Item"]["n"] == {"N": "1"}
        assert dynamodb.scan(TableName=name, ConsistentRead=True)["Count"] == 1
        assert eventually(lambda: "Item" in dynamodb.get_item(TableName=name, Key=key), within_s=5)


def test_an_index_takes_its_time_and_cannot_be_read_before(
    aws: Emulator, become: Callable[[Profile], None]
) -> None:
    """Developer guide, "Managing Global Secondary Indexes"; amazon-kinesis-client issue 1786."""
    dynamodb = client_of(aws)
    change: dict[str, Any] = {
        "AttributeDefinitions": [*NAMES, {"AttributeName": "owner", "AttributeType": "S"}],
        "GlobalSecondaryIndexUpdates": [
            {
                "Create": {
                    "IndexName": "by-owner",
                    "KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "ALL"},
                }
            }
        ],
    }
    query = {
        "IndexName": "by-owner",
        "KeyConditionExpression": "#o = :o",
        "ExpressionAttributeNames": {"#o": "owner"},
        "ExpressionAttributeValues": {":o": {"S": "x"}},
    }

    def status(name: str) -> str:
        description = dynamodb.describe_table(TableName=name)["Table"]
        return str(description["GlobalSecondaryIndexes"][0]["IndexStatus"])

    with table(dynamodb, "indexed") as name:
        become(Profile(name="index", index_s=1.0))
        dynamodb.update_table(TableName=name, **change)
        assert status(name) == "CREATING"
        with pytest.raises(ClientError, match="backfilling global secondary index"):
            dynamodb.query(TableName=name, **query)
        with pytest.raises(ClientError, match="LimitExceededException"):
            dynamodb.update_table(TableName=name, **change)
        assert eventually(lambda: status(name) == "ACTIVE", within_s=5)
        assert dynamodb.query(TableName=name, **query)["Count"] == 0


def test_a_shards_rates_can_be_lifted_for_a_benchmark(
    aws: Emulator, become: Callable[[Profile], None]
) -> None:
    kinesis = client_of(aws, "kinesis")
    kinesis.create_stream(StreamName="lifted", ShardCount=1)
    records = [{"Data": b"x", "PartitionKey": "k"}] * 500
    become(WITHOUT_SHARD_RATES)
    for _ in range(5):
        answer = kinesis.put_records(StreamName="lifted", Records=records)
        assert answer["FailedRecordCount"] == 0
    shard = kinesis.list_shards(StreamName="lifted")["Shards"][0]["ShardId"]
    iterator = kinesis.get_shard_iterator(
        StreamName="lifted", ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    for _ in range(10):
        assert len(kinesis.get_records(ShardIterator=iterator)["Records"]) == 2500
    kinesis.delete_stream(StreamName="lifted")


def test_calls_fail_now_and_then_with_the_work_done_or_not(
    aws: Emulator, become: Callable[[Profile], None]
) -> None:
    """Developer guide, "Error handling with DynamoDB": after a 500 the write may be there."""
    dynamodb = client_of(aws)
    with table(dynamodb, "failing") as name:
        become(replace(Profile(name="failing"), failures=0.5, seed=5))
        outcomes = []
        for n in range(30):
            try:
                dynamodb.put_item(TableName=name, Item={"device": {"S": f"d-{n}"}})
                outcomes.append(200)
            except ClientError as error:
                outcomes.append(error.response["ResponseMetadata"]["HTTPStatusCode"])
        become(STRICT)
        assert set(outcomes) == {200, 500, 503}
        there = dynamodb.scan(TableName=name)["Count"]
        assert outcomes.count(200) < there < outcomes.count(200) + outcomes.count(500)


def test_the_profile_is_read_and_replaced_while_it_runs(aws: Emulator) -> None:
    url = f"{aws.endpoint_url}/_penstock/profile"
    with urllib.request.urlopen(url) as answer:
        assert Profile.from_json(answer.read()) == STRICT
    request = urllib.request.Request(url, data=b'{"colour": 1}', method="PUT")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert json.load(error.value)["message"] == "a profile has no colour"
    error.value.close()


def test_more_than_1000_requests_are_served_on_one_connection(aws: Emulator) -> None:
    """Hypercorn closes a connection after 1,000 requests unless it is told otherwise; the KCL
    then waits about 10 s for an answer."""
    import http.client

    host = aws.endpoint_url.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    connection.connect()
    socket = connection.sock
    for _ in range(1200):
        connection.request("GET", "/_penstock/profile")
        connection.getresponse().read()
    assert connection.sock is socket
    connection.close()
