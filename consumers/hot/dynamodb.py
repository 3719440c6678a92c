"""The two DynamoDB calls of the hot tables. Maps each error to *retry* or *fail*."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from consumers.aws.errors import is_throttle, is_transient
from consumers.exceptions import StoreError
from consumers.hot.optimistic import Key, Outcome, Statement, Stored
from ingest.tables import watched

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

log: Final = logging.getLogger(__name__)

_encode: Final = msgspec.json.Encoder().encode
_PLACEHOLDER: Final[Any] = [{"Statement": "see DynamoStore._send"}]
_CONFLICTS: Final = frozenset({"ConditionalCheckFailed", "DuplicateItem"})
_THROTTLES: Final = frozenset(
    {"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"}
)
_UNKNOWN: Final = frozenset({"InternalServerError", "TransactionConflict"})


class DynamoStore:
    """:class:`consumers.hot.optimistic.Store` on a ``boto3`` client that does not retry itself.

    The client must not retry: a retried INSERT that had been applied is a conflict, which the
    caller must see. Calls may run in several threads at once.
    """

    def __init__(self, client: DynamoDBClient) -> None:
        self._client = client
        self._thread = threading.local()
        client.meta.events.register("before-call.dynamodb.BatchExecuteStatement", self._send)

    def _send(self, params: dict[str, Any], **_: Any) -> None:
        """Replace the client's body with the one that this thread encoded. The SDK walks every
        attribute value to check and copy it, which takes longer than all the rest; attribute
        values are JSON already, in the form that DynamoDB reads."""
        params["body"] = self._thread.body

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        """See :class:`~consumers.hot.optimistic.Store`.

        :raises StoreError: when a statement fails for a reason that no retry mends.
        """
        self._thread.body = _encode(
            {
                "Statements": [
                    {"Statement": statement.text, "Parameters": statement.parameters}
                    for statement in statements
                ]
            }
        )
        try:
            answer = self._client.batch_execute_statement(Statements=_PLACEHOLDER)
        except ClientError as error:
            return [_whole_call(error)] * len(statements)
        except BotoCoreError:  # no reply: it may have been applied
            return [Outcome.UNKNOWN] * len(statements)
        return [_outcome(response.get("Error")) for response in answer["Responses"]]

    def read(
        self, table: str, key_names: tuple[str, ...], keys: Sequence[Key]
    ) -> tuple[Stored, Sequence[Key]]:
        """See :class:`~consumers.hot.optimistic.Store`.

        :raises StoreError: when the read fails for a reason that no retry mends.
        """
        request: Any = {
            table: {
                "Keys": [
                    {name: {"S": part} for name, part in zip(key_names, key, strict=True)}
                    for key in keys
                ],
                "ConsistentRead": True,
            }
        }
        try:
            answer: Any = self._client.batch_get_item(RequestItems=request)
        except ClientError as error:
            _whole_call(error)
            return {}, keys
        except BotoCoreError:
            return {}, keys

        def key_of(item: Mapping[str, Any]) -> Key:
            return tuple(item[name]["S"] for name in key_names)

        unprocessed = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        found = {key_of(item): item for item in answer["Responses"].get(table, [])}
        return found, [key_of(key) for key in unprocessed]


class WatchedReader:
    """Reads which devices are watched, see :mod:`ingest.tables.watched`. Never raises for what AWS
    answers: a worker that cannot read it writes at the tiers' pace."""

    def __init__(self, client: DynamoDBClient, table: str, now_s: Callable[[], float]) -> None:
        self._client = client
        self._table = table
        self._now_s = now_s
        self._failing = False

    def __call__(self) -> frozenset[str] | None:
        """The devices; ``None`` when they cannot be read."""
        try:
            item = self._client.get_item(TableName=self._table, Key=watched.key()).get("Item", {})
        except (ClientError, BotoCoreError) as error:
            if not self._failing:
                log.warning("cannot read which devices are watched: %s", error)
            self._failing = True
            return None
        self._failing = False
        return watched.read_watched(item, self._now_s())


def _whole_call(error: ClientError) -> Outcome:
    """The outcome of each statement of a call that was refused as a whole."""
    if is_throttle(error):
        return Outcome.THROTTLED
    if is_transient(error):
        return Outcome.UNKNOWN
    raise StoreError(f"DynamoDB refuses to serve this worker: {error}") from error


def _outcome(error: Mapping[str, Any] | None) -> Outcome:
    if not error:
        return Outcome.WRITTEN
    code = error.get("Code", "")
    if code in _CONFLICTS:
        return Outcome.CONFLICT
    if code in _THROTTLES:
        return Outcome.THROTTLED
    if code in _UNKNOWN:
        return Outcome.UNKNOWN
    raise StoreError(f"DynamoDB refuses a write: {code}: {error.get('Message', '')}")
