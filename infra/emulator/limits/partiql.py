"""What a ``BatchExecuteStatement`` may be, and how AWS words its refusal.

Source: DynamoDB API reference, ``BatchExecuteStatement`` (1 to 25 statements, all reads or all
writes) and ``BatchStatementRequest`` (a statement has 1 to 8,192 characters; its parameters do
not count). That one item may not be named twice is ``BatchWriteItem``'s and ``BatchGetItem``'s
rule, which the developer guide says ``BatchExecuteStatement`` is made of.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

STATEMENTS: Final = 25
STATEMENT_CHARACTERS: Final = 8192
_MIXED: Final = "The batch must consist of either read statements or write statements"
_TWICE: Final = "Provided list of item keys contains duplicates"


def refuse_texts(statements: Sequence[str]) -> str | None:
    """Why a batch of these statements is refused as a whole, from their texts alone; ``None``
    when it is not."""
    for number, statement in enumerate(statements, 1):
        if len(statement) > STATEMENT_CHARACTERS:
            return (
                f"1 validation error detected: Value at 'statements.{number}.member.statement' "
                "failed to satisfy constraint: Member must have length less than or equal to "
                f"{STATEMENT_CHARACTERS}"
            )
    if len({_is_read(statement) for statement in statements}) > 1:
        return _MIXED
    return None


def refuse_items(items: Sequence[Hashable | None]) -> str | None:
    """Why a batch that names these items (table and keys, ``None`` where a statement names
    none) is refused as a whole."""
    named = [item for item in items if item is not None]
    return _TWICE if len(set(named)) < len(named) else None


def _is_read(statement: str) -> bool:
    return statement.lstrip()[:6].upper() in ("SELECT", "EXISTS")
