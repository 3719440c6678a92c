"""The limits of ``BatchExecuteStatement`` and ``ExecuteStatement``."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

from infra.emulator.limits.partiql import STATEMENTS, refuse_items, refuse_texts


class Batches:
    """Refuses a batch as a whole where AWS does.

    MiniStack parses every statement of a batch twice. Here each is parsed once, so that the
    check of its keys costs nothing.
    """

    def __init__(self, dynamodb: Any) -> None:
        self._dynamodb = dynamodb
        self._parse, self._run = dynamodb._parse_partiql, dynamodb._batch_execute_statement
        self._parsed: dict[tuple[str, int], Any] | None = None

    def parse(self, statement: str, parameters: Any) -> Any:
        """MiniStack's ``_parse_partiql``, remembered while a batch runs."""
        if self._parsed is None:
            return self._parse(statement, parameters)
        key = (statement, id(parameters))
        if key not in self._parsed:
            self._parsed[key] = self._parse(statement, parameters)
        return self._parsed[key]

    def run(self, data: dict[str, Any]) -> Any:
        """MiniStack's ``_batch_execute_statement``."""
        statements = data.get("Statements") or []
        if not statements or len(statements) > STATEMENTS:
            return self._run(data)
        for statement in statements:
            statement.setdefault("Parameters", [])  # one list a statement, known by its identity
        self._parsed = {}
        try:
            refusal = refuse_texts([one.get("Statement", "") for one in statements]) or (
                refuse_items([self._item(one) for one in statements])
            )
            if refusal is not None:
                return self._dynamodb.error_response_json("ValidationException", refusal, 400)
            return _as_aws_codes(self._run(data))
        finally:
            self._parsed = None

    def _item(self, statement: dict[str, Any]) -> Hashable | None:
        """The table and keys that a statement names."""
        try:
            parsed = self.parse(statement.get("Statement", ""), statement["Parameters"])
        except ValueError:  # reported for this statement alone, when it runs
            return None
        table = self._dynamodb._tables.get(parsed.get("table"))
        if not table or parsed.get("index"):
            return None
        item = parsed.get("item") or {}
        named = item.get("M", item) if set(item) == {"M"} else item
        named = named or {
            name: value for name, operator, value in parsed["conditions"] if operator == "="
        }
        keys = [named.get(table["pk_name"]), named.get(table["sk_name"] or table["pk_name"])]
        if any(key is None for key in keys):
            return None
        return (parsed["table"], *(json.dumps(key, sort_keys=True) for key in keys))


def _as_aws_codes(answer: Any) -> Any:
    """A throttled statement's code is ``ThrottlingError``, which MiniStack would shorten."""
    status, headers, body = answer
    if b'"Throttling"' not in body:
        return answer
    document = json.loads(body)
    for response in document["Responses"]:
        if response.get("Error", {}).get("Code") == "Throttling":
            response["Error"]["Code"] = "ThrottlingError"
    return status, headers, json.dumps(document).encode()


def limit_statements(dynamodb: Any) -> None:
    """Refuse batches and statements that AWS refuses."""
    batches = Batches(dynamodb)
    _ = (dynamodb._tables, dynamodb.error_response_json)
    dynamodb._parse_partiql = batches.parse
    dynamodb._batch_execute_statement = batches.run
