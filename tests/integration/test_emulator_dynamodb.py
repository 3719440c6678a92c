"""The embedded AWS refuses what DynamoDB refuses, and counts what it charges.

Sources are named test by test; `docs/emulator.md` has them in one table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.emulator.process import Emulator
from infra.emulator.usage import read_usage
from tests.integration.conftest import STACK, target_of

pytestmark = STACK
TABLE = "strict-windows"


@pytest.fixture(scope="module")
def dynamodb(emulator: Emulator) -> Iterator[Any]:
    client: Any = target_of(emulator).client("dynamodb")
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": "device", "KeyType": "HASH"},
            {"AttributeName": "window", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "device", "AttributeType": "S"},
            {"AttributeName": "window", "AttributeType": "S"},
        ],
    )
    yield client
    client.delete_table(TableName=TABLE)


def item(device: str, size: int = 0, window: str = "1m#0") -> dict[str, Any]:
    """An item of exactly ``size`` bytes, or as small as can be."""
    key = {"device": {"S": device}, "window": {"S": window}}
    names = len("device") + len("window") + len(device) + len(window)
    return {**key, "fill": {"S": "x" * (size - names - len("fill"))}} if size else key


def key(device: str, window: str = "1m#0") -> dict[str, Any]:
    return item(device, window=window)


def batch(dynamodb: Any, *statements: Any) -> list[dict[str, Any]]:
    """Each statement's error, or nothing."""
    answer = dynamodb.batch_execute_statement(
        Statements=[{"Statement": s} if isinstance(s, str) else s for s in statements]
    )
    return [response.get("Error", {}) for response in answer["Responses"]]


def insert(device: str, size: int = 0) -> dict[str, Any]:
    return {
        "Statement": f"INSERT INTO \"{TABLE}\" VALUE {{'device': ?, 'window': ?, 'fill': ?}}",
        "Parameters": [{"S": device}, {"S": "1m#0"}, {"S": "x" * size}],
    }


def refused(call: Any, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_an_item_may_have_400_kib_and_no_byte_more(dynamodb: Any) -> None:
    """Developer guide, "Quotas": item size, names included."""
    dynamodb.put_item(TableName=TABLE, Item=item("full", 400 * 1024))
    code, message = refused(dynamodb.put_item, TableName=TABLE, Item=item("over", 400 * 1024 + 1))
    assert (code, message) == (
        "ValidationException",
        "Item size has exceeded the maximum allowed size",
    )
    assert "Item" not in dynamodb.get_item(TableName=TABLE, Key=key("over"))


def test_a_statement_that_makes_an_item_too_large_fails_alone(dynamodb: Any) -> None:
    """API reference, BatchStatementError: ValidationError, inside a 200."""
    dynamodb.put_item(TableName=TABLE, Item=item("grows", 300 * 1024))
    errors = batch(
        dynamodb,
        insert("too-large", 400 * 1024),
        {
            "Statement": f'UPDATE "{TABLE}" SET more = ? WHERE device = ? AND "window" = ?',
            "Parameters": [{"S": "y" * 200 * 1024}, {"S": "grows"}, {"S": "1m#0"}],
        },
        insert("small", 10),
    )
    assert [error.get("Code") for error in errors] == ["ValidationError", "ValidationError", None]
    assert [error.get("Message") for error in errors[:2]] == [
        "Item size has exceeded the maximum allowed size",
        "Item size to update has exceeded the maximum allowed size",
    ]
    assert "more" not in dynamodb.get_item(TableName=TABLE, Key=key("grows"))["Item"]


def test_a_conflict_and_a_duplicate_are_said_per_statement(dynamodb: Any) -> None:
    """API reference, BatchStatementError."""
    dynamodb.put_item(TableName=TABLE, Item=item("there"))
    where = "WHERE device = 'there' AND \"window\" = '1m#0'"
    assert batch(dynamodb, f'UPDATE "{TABLE}" SET a = 1 {where} AND ver = 7') == [
        {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
    ]
    assert batch(dynamodb, insert("there")) == [
        {"Code": "DuplicateItem", "Message": "Duplicate primary key exists in table"}
    ]


def test_a_batch_has_25_statements_at_most(dynamodb: Any) -> None:
    """API reference, BatchExecuteStatement."""
    statements = [insert(f"many-{n}") for n in range(26)]
    code, _ = refused(dynamodb.batch_execute_statement, Statements=statements)
    assert code == "ValidationException"
    assert batch(dynamodb, *statements[:25]) == [{}] * 25


def test_a_statement_has_8192_characters_at_most_apart_from_its_parameters(dynamodb: Any) -> None:
    """API reference, BatchStatementRequest."""
    statement = insert("long", 20_000)
    assert batch(dynamodb, statement) == [{}]
    statement["Statement"] += " " * 8192
    code, message = refused(dynamodb.batch_execute_statement, Statements=[statement])
    assert code == "ValidationException"
    assert "'statements.1.member.statement'" in message


def test_a_batch_does_not_mix_reads_and_writes(dynamodb: Any) -> None:
    """API reference, BatchExecuteStatement. The wording is ours."""
    read = {"Statement": f"SELECT * FROM \"{TABLE}\" WHERE device = 'a' AND \"window\" = '1m#0'"}
    code, _ = refused(dynamodb.batch_execute_statement, Statements=[read, insert("mixed")])
    assert code == "ValidationException"
    assert "Item" not in dynamodb.get_item(TableName=TABLE, Key=key("mixed"))


def test_a_batch_names_an_item_once(dynamodb: Any) -> None:
    """API reference, BatchWriteItem; for PartiQL it is inferred (see limits/partiql.py)."""
    twice = [insert("twice"), {**insert("twice"), "Statement": insert("twice")["Statement"] + " "}]
    code, message = refused(dynamodb.batch_execute_statement, Statements=twice)
    assert (code, message) == (
        "ValidationException",
        "Provided list of item keys contains duplicates",
    )
    assert "Item" not in dynamodb.get_item(TableName=TABLE, Key=key("twice"))


def test_a_batch_read_has_100_keys_and_returns_16_mib_at_most(dynamodb: Any) -> None:
    """API reference, BatchGetItem: UnprocessedKeys of a partial result."""
    keys = [key(f"k-{n}") for n in range(101)]
    code, message = refused(dynamodb.batch_get_item, RequestItems={TABLE: {"Keys": keys}})
    assert code == "ValidationException"
    assert "Too many items requested" in message
    for n in range(42):
        dynamodb.put_item(TableName=TABLE, Item=item(f"k-{n}", 400 * 1024))
    answer = dynamodb.batch_get_item(
        RequestItems={TABLE: {"Keys": keys[:50], "ConsistentRead": True}}
    )
    assert len(answer["Responses"][TABLE]) == 40  # 16 MiB of items of 400 KiB
    left = answer["UnprocessedKeys"][TABLE]
    assert left["ConsistentRead"]
    assert len(left["Keys"]) == 10
    rest = dynamodb.batch_get_item(RequestItems=answer["UnprocessedKeys"])
    assert len(rest["Responses"][TABLE]) == 2
    assert not rest["UnprocessedKeys"]


def test_write_units_are_counted_by_table_and_kind_of_item(
    emulator: Emulator, dynamodb: Any
) -> None:
    """Developer guide, "DynamoDB read and write operations": 1 KiB a unit of the larger of the
    item before and after; a failed condition is charged too."""
    dynamodb.put_item(TableName=TABLE, Item=item("shrinks", 5000))
    before = read_usage(emulator.endpoint_url)
    dynamodb.put_item(TableName=TABLE, Item=item("shrinks", 100))  # 5
    dynamodb.put_item(TableName=TABLE, Item=item("hour", 1025, window="1h#0"))  # 2
    dynamodb.delete_item(TableName=TABLE, Key=key("hour", window="1h#0"))  # 2
    dynamodb.update_item(
        TableName=TABLE, Key=key("shrinks"), UpdateExpression="SET a = :a",
        ExpressionAttributeValues={":a": {"N": "1"}},
    )  # fmt: skip # 1
    batch(dynamodb, insert("charged", 2000))  # 2
    assert batch(dynamodb, insert("charged", 10))[0]["Code"] == "DuplicateItem"  # 2
    used = read_usage(emulator.endpoint_url).since(before)
    table = used.tables[TABLE]
    assert dict(table.kinds) == {
        kind: pytest.approx(units)
        for kind, units in {**dict.fromkeys(table.kinds, 0), "1m": 8, "1h": 4, "failed": 2}.items()
    }
    assert table.write_units == 14
    assert table.throttled == 0


def test_read_units_are_counted_half_when_eventually_consistent(
    emulator: Emulator, dynamodb: Any
) -> None:
    """Developer guide, "DynamoDB read and write operations": 4 KiB a unit; an item that is not
    there costs one unit's read."""
    dynamodb.put_item(TableName=TABLE, Item=item("read", 9000))

    def units(call: Any, **arguments: Any) -> float:
        before = read_usage(emulator.endpoint_url)
        call(**arguments)
        return read_usage(emulator.endpoint_url).since(before).tables[TABLE].read_units

    assert units(dynamodb.get_item, TableName=TABLE, Key=key("read"), ConsistentRead=True) == 3
    assert units(dynamodb.get_item, TableName=TABLE, Key=key("read")) == 1.5
    assert units(dynamodb.get_item, TableName=TABLE, Key=key("nobody")) == 0.5
    keys = [key("read"), key("nobody")]
    assert units(dynamodb.batch_get_item, RequestItems={TABLE: {"Keys": keys}}) == 2
    query = {
        "TableName": TABLE,
        "KeyConditionExpression": "device = :d",
        "ExpressionAttributeValues": {":d": {"S": "read"}},
    }
    assert units(dynamodb.query, **query, ConsistentRead=True) == 3
