"""Each role reads and writes the schemas as far as it must, on the embedded AWS."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from consumers.hot.dynamodb import DynamoStore
from consumers.schemas.at_work import SchemasAtWork
from dashboard import queries
from infra.console import UserError
from infra.schemas import applied_schemas, apply_schemas, roster_types, types_of
from infra.target import Target
from ingest.schemas.item import history_of, read_request
from ingest.tables.hot import device_key
from tests.harness.schemas import schema
from tests.integration.conftest import STACK

pytestmark = STACK

KIND = "of-this-test"


def test_an_operator_applies_schemas_and_a_worker_judges_by_them(pipeline: Target) -> None:
    settings = pipeline.settings
    pipeline.client("dynamodb").put_item(
        TableName=settings.devices_table,
        Item={**device_key("typed-1"), "type": {"S": KIND}, "ver": {"N": "1"}},
    )
    change = apply_schemas(pipeline, [schema(1, 0, 10, kind=KIND)])
    assert change.added == [KIND]
    assert not apply_schemas(pipeline, [schema(1, 0, 10, kind=KIND)])
    with pytest.raises(UserError, match="write version = 2"):
        apply_schemas(pipeline, [schema(1, 0, 11, kind=KIND)])

    worker = pipeline.client("dynamodb", "worker")
    judge = SchemasAtWork(
        worker, settings.status_table, DynamoStore(worker), settings.devices_table
    ).judge_for(["typed-1", "unknown"])
    assert judge is not None
    assert judge.quarantines("typed-1", change.since, {"a": 11.0})
    assert not judge.quarantines("typed-1", change.since - 1, {"a": 11.0})
    assert not judge.quarantines("unknown", change.since, {"a": 11.0})

    history = applied_schemas(pipeline)
    assert history.newest.since == change.since
    reader = pipeline.client("dynamodb", "simulator")
    assert history_of(reader.get_item(**read_request(settings.status_table))["Item"]) == history
    _, units = queries.workers(pipeline.client("dynamodb", "dashboard"), settings.status_table)
    assert units == {"a": "bar"}
    assert types_of(pipeline, {"typed-1", "unknown"}) == {"typed-1": KIND}
    assert ("typed-1", KIND) in roster_types(pipeline)

    with pytest.raises(ClientError, match="AccessDenied"):
        worker.update_item(
            TableName=settings.status_table, Key={"worker": {"S": "#schemas"}},
            UpdateExpression="SET ver = :v", ExpressionAttributeValues={":v": {"N": "9"}},
        )  # fmt: skip
    assert apply_schemas(pipeline, []).removed == [KIND]
    assert not applied_schemas(pipeline).newest.schemas
