"""The hot tables' edge: two calls of DynamoDB, and what each of their errors asks of us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from consumers.aws.errors import is_throttle, is_transient
from consumers.exceptions import StoreError
from consumers.hot.optimistic import Key, Outcome, Statement, Stored

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_encode: Final = msgspec.json.Encoder().encode
_PLACEHOLDER: Final[Any] = [{"Statement": "see DynamoStore._send"}]
_CONFLICTS: Final = frozenset({"ConditionalCheckFailed", "DuplicateItem"})
_THROTTLES: Final = frozenset(
    {"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"}
)
_UNKNOWN: Final = frozenset({"InternalServerError", "TransactionConflict"})


class DynamoStore:
    """:class:`consumers.hot.optimistic.Store` on a ``boto3`` client that does not retry itself.

    The client must not retry: a retried INSERT that had been applied is a conflict, and that
    is for the caller to know.
    """

    def __init__(self, client: DynamoDBClient) -> None:
        self._client = client
        self._body = b""
        client.meta.events.register("before-call.dynamodb.BatchExecuteStatement", self._send)

    def _send(self, params: dict[str, Any], **_: Any) -> None:
        """Put our body in the place of the client's. The SDK walks every attribute value to
        check and copy it, which takes longer than all the rest; attribute values are JSON
        already, in the form that DynamoDB reads."""
        params["body"] = self._body

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        """See :class:`~consumers.hot.optimistic.Store`.

        :raises StoreError: when a statement fails for a reason that no retry mends.
        """
        self._body = _encode(
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
        self, table: str, key_names: tuple[str, str], keys: Sequence[Key]
    ) -> tuple[Stored, Sequence[Key]]:
        """See :class:`~consumers.hot.optimistic.Store`.

        :raises StoreError: when the read fails for a reason that no retry mends.
        """
        hash_name, range_name = key_names
        request: Any = {
            table: {
                "Keys": [{hash_name: {"S": h}, range_name: {"S": r}} for h, r in keys],
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
        found = {
            (item[hash_name]["S"], item[range_name]["S"]): item
            for item in answer["Responses"].get(table, [])
        }
        unprocessed = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        return found, [(key[hash_name]["S"], key[range_name]["S"]) for key in unprocessed]


def _whole_call(error: ClientError) -> Outcome:
    """What a refused call means for each of its statements."""
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
