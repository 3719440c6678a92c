"""DynamoDB and S3 as a child's clients see them, in memory, with what can go wrong.

The requests and answers are those of ``boto3``, so that the edges of the worker
(``consumers.hot.dynamodb``, ``consumers.archive.s3``) run too. Whether a call is
applied, and what answer the caller gets, are decided apart: that is where the faults are.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from consumers.hot.optimistic import Outcome, Statement
from ingest.schemas import item as schemas_item
from ingest.tables import watched
from simulator.verification.observe import ArchiveRow, rows_of
from tests.harness.stores import MemoryDynamo


class Call(NamedTuple):
    """One request of a child."""

    operation: str
    request: Mapping[str, Any]


class Failure(NamedTuple):
    """An answer that is an error: a service's code and status, or silence (``code`` empty)."""

    code: str = ""
    status: int = 0


SILENCE: Final = Failure()
_BUSY: Final = {
    "batch_execute_statement": [
        Failure("ProvisionedThroughputExceededException", 400),
        Failure("ThrottlingException", 400),
    ],
    "batch_get_item": [Failure("ProvisionedThroughputExceededException", 400)],
    "get_item": [Failure("ThrottlingException", 400)],
    "put_object": [Failure("SlowDown", 503), Failure("ConditionalRequestConflict", 409)],
    "head_object": [Failure("SlowDown", 503)],
    "list_objects_v2": [Failure("SlowDown", 503)],
}
_BROKEN: Final = [Failure("InternalServerError", 500), SILENCE]


@dataclass
class Services:
    """Both services' state. Answers are seeded by ``chance``; ``faults`` is the share of calls
    that go wrong."""

    chance: random.Random
    faults: float
    dynamo: MemoryDynamo = field(default_factory=MemoryDynamo)
    objects: dict[str, tuple[Mapping[str, str], list[ArchiveRow]]] = field(default_factory=dict)
    older: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = field(default_factory=dict)

    def answer(self, call: Call) -> Any:
        """Serve a call, well or badly."""
        if self.chance.random() >= self.faults:
            return self._serve(call)
        kind = self.chance.choice(["busy", "broken", "lost", "partial"])
        if kind == "busy":
            return self.chance.choice(_BUSY[call.operation])
        if kind == "broken":
            return self.chance.choice(_BROKEN)
        if kind == "lost":  # it was done, and the caller does not know
            self._serve(call)
            return self.chance.choice(_BROKEN)
        return self._in_part(call)

    def apply(self, call: Call) -> None:
        """Apply a call whose caller gets no answer."""
        self._serve(call)

    def _serve(self, call: Call) -> Any:
        serve = getattr(self, f"_{call.operation}")
        return serve(call.request)

    def _in_part(self, call: Call) -> Any:
        if call.operation == "batch_execute_statement":
            return self._batch_execute_statement(call.request, partial=True)
        if call.operation == "batch_get_item":
            return self._batch_get_item(call.request, partial=True)
        return self._serve(call)

    # -- DynamoDB --------------------------------------------------------------------------

    def _batch_execute_statement(
        self, request: Mapping[str, Any], partial: bool = False
    ) -> dict[str, Any]:
        return {"Responses": [self._statement(one, partial) for one in request["Statements"]]}

    def _statement(self, one: Mapping[str, Any], partial: bool) -> dict[str, Any]:
        if partial and self.chance.random() < 0.5:
            code = self.chance.choice(
                ["ThrottlingError", "ProvisionedThroughputExceeded", "InternalServerError",
                 "TransactionConflict", "done, InternalServerError"]
            )  # fmt: skip
            if not code.startswith("done"):
                return {"Error": {"Code": code}}
            self._execute(one)
            return {"Error": {"Code": "InternalServerError"}}
        if self._execute(one) is Outcome.WRITTEN:
            return {}
        inserts = one["Statement"].startswith("INSERT")
        return {"Error": {"Code": "DuplicateItem" if inserts else "ConditionalCheckFailed"}}

    def _execute(self, one: Mapping[str, Any]) -> Outcome:
        statement = Statement(one["Statement"], one["Parameters"])
        table, key = self.dynamo.target(statement)
        before = self.dynamo.tables.get(table, {}).get(key)
        outcome = self.dynamo.apply(statement)
        if before is not None and outcome is Outcome.WRITTEN:
            self.older[table, key] = before
        return outcome

    def _batch_get_item(self, request: Mapping[str, Any], partial: bool = False) -> dict[str, Any]:
        responses: dict[str, Any] = {}
        unprocessed: dict[str, Any] = {}
        for table, asked in request["RequestItems"].items():
            assert asked["ConsistentRead"]
            for names in asked["Keys"]:
                key = tuple(value["S"] for value in names.values())
                fate = self.chance.choice(["there", "unprocessed", "stale"]) if partial else "there"
                item = self.dynamo.tables.get(table, {}).get(key)
                if fate == "unprocessed":
                    unprocessed.setdefault(table, {"Keys": []})["Keys"].append(names)
                elif item is not None:
                    stale = self.older.get((table, key), item)
                    responses.setdefault(table, []).append(stale if fate == "stale" else item)
        return {"Responses": responses, "UnprocessedKeys": unprocessed}

    def _get_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Sometimes a device is watched; the reads are eventually consistent anyway."""
        if request["Key"] == schemas_item.key():
            return {}
        assert request["Key"] == watched.key()
        devices = self.chance.choice([(), ("dev-a",), ("dev-a", "dev-b")])
        values = watched.watch(request["TableName"], "v", devices, 2**40)
        return {"Item": {"v:v": values["ExpressionAttributeValues"][":mine"]}}

    # -- S3 --------------------------------------------------------------------------------

    def _put_object(self, request: Mapping[str, Any]) -> Any:
        assert request["IfNoneMatch"] == "*"
        if request["Key"] in self.objects:
            return Failure("PreconditionFailed", 412)
        self.objects[request["Key"]] = (request["Metadata"], rows_of(request["Body"]))
        return {}

    def _head_object(self, request: Mapping[str, Any]) -> Any:
        if request["Key"] not in self.objects:
            return Failure("404", 404)
        return {"Metadata": self.objects[request["Key"]][0]}

    def _list_objects_v2(self, request: Mapping[str, Any]) -> Any:
        keys = sorted(key for key in self.objects if key.startswith(request["Prefix"]))
        return {"Contents": [{"Key": key} for key in keys]}

    def rows(self) -> Sequence[ArchiveRow]:
        """Every row of the archive."""
        return [row for _, rows in self.objects.values() for row in rows]
