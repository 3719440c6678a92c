"""The schemas of a deployment in ``<stack>-status``, as a person reads and changes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from consumers.aws.errors import code_of
from infra.console import UserError
from infra.target import Target
from ingest.schemas.item import history_of, read_request, write_request
from ingest.schemas.schema import LEAD_MS, Applied, History, Schema
from ingest.tables.hot import device_key, roster_scans

READER: Final = "reader"
OPERATOR: Final = "operator"

KEPT_MS: Final = 366 * 86_400_000
"""A set stays in the history for as long after its end: Kinesis keeps no record for longer."""

_WITHIN_S: Final = Config(
    connect_timeout=3, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 1}
)
"""A write that takes long could come into force before each worker has it (decision 36)."""


@dataclass(frozen=True)
class Change:
    """What applying schemas changed: types. ``since`` is when it comes into force (ms)."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    since: int

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def applied_schemas(target: Target, role: str = READER) -> History:
    """The schemas that workers judge by, with those before them.

    :raises UserError: when they cannot be read.
    """
    return _read(target.client("dynamodb", role), target)[0]


def apply_schemas(target: Target, schemas: Sequence[Schema]) -> Change:
    """Put schemas into force in place of those before, :data:`LEAD_MS` from now.

    :raises UserError: when a schema was changed without a higher version, when somebody else
        applies schemas now, or when AWS does not answer in time.
    """
    settings = target.settings
    client = target.session(OPERATOR).client(
        "dynamodb", endpoint_url=settings.endpoint_url, config=_WITHIN_S
    )
    before, now_ms = _read(client, target)
    after, change = next_history(before, schemas, now_ms)
    if not change:
        return change
    try:
        client.update_item(**write_request(settings.status_table, after, before.ver))
    except ValueError as error:
        raise UserError(str(error)) from None
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and code_of(error) == "ConditionalCheckFailedException":
            raise UserError("somebody else applies schemas at this moment: run it again") from None
        raise _refused(target, error) from None
    return change


def next_history(before: History, schemas: Sequence[Schema], now_ms: int) -> tuple[History, Change]:
    """The history with these schemas in force from :data:`LEAD_MS` after ``now_ms`` on. Pure.

    :raises UserError: when a schema was changed without a higher version.
    """
    known = {schema.type: schema for schema in before.newest.schemas}
    for schema in schemas:
        old = known.get(schema.type)
        if old is not None and old != schema and schema.version <= old.version:
            raise UserError(
                f"schema {schema.type}: version {old.version} is applied and says something else: "
                f"write version = {old.version + 1}"
            )
    names = {schema.type for schema in schemas}
    since = max(now_ms + LEAD_MS, before.newest.since + 1)
    change = Change(
        added=sorted(names - known.keys()),
        changed=sorted(s.type for s in schemas if s.type in known and known[s.type] != s),
        removed=sorted(known.keys() - names),
        since=since,
    )
    applied = [*before.applied, Applied(since, sorted(schemas, key=lambda one: one.type))]
    while len(applied) > 1 and applied[1].since < now_ms - KEPT_MS:
        del applied[0]
    return History(before.ver + 1, applied), change


def await_force(history: History, now_ms: Callable[[], int], sleep: Callable[[float], None]) -> int:
    """Return when the newest schemas are in force; how long that took (ms)."""
    left = max(0, history.newest.since + 1_000 - now_ms())
    if left:
        sleep(left / 1000)
    return left


def types_of(target: Target, devices: Collection[str]) -> dict[str, str]:
    """The types of devices, from the roster, of those that it has."""
    client, table = target.client("dynamodb", READER), target.settings.devices_table
    found: dict[str, str] = {}
    names = sorted(devices)
    for first in range(0, len(names), 100):
        keys = [device_key(name) for name in names[first : first + 100]]
        request: Any = {table: {"Keys": keys, "ConsistentRead": True}}
        while request:
            answer = client.batch_get_item(RequestItems=request)
            for item in answer["Responses"].get(table, []):
                found[item["device"]["S"]] = item.get("type", {}).get("S", "")
            request = answer.get("UnprocessedKeys")
    return found


def roster_types(target: Target) -> list[tuple[str, str]]:
    """Each device of the roster that has a type, and the type."""
    client = target.client("dynamodb", READER)
    found: list[tuple[str, str]] = []
    for scan in roster_scans(target.settings.devices_table):
        pages = client.get_paginator("scan").paginate(
            **scan, ProjectionExpression="device, #t", ExpressionAttributeNames={"#t": "type"}
        )
        found += [
            (item["device"]["S"], item["type"]["S"])
            for page in pages for item in page["Items"] if "type" in item
        ]  # fmt: skip
    return found


def _read(client: Any, target: Target) -> tuple[History, int]:
    """The history, and DynamoDB's time (ms)."""
    try:
        answer = client.get_item(**read_request(target.settings.status_table))
    except (ClientError, BotoCoreError) as error:
        raise _refused(target, error) from None
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    told = round(parsedate_to_datetime(date).timestamp() * 1000) if date else 0
    return history_of(answer.get("Item", {})), told or time.time_ns() // 1_000_000


def _refused(target: Target, error: Exception) -> UserError:
    return UserError(
        f"cannot reach the schemas of stack {target.settings.stack}: {error}; deploy the stack if "
        "its roles are older than this version, and run it again"
    )
