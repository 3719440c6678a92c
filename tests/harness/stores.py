"""Stores in memory with the semantics that the guarantee rests on, and faults on demand.

They implement the protocols of ``consumers.hot.optimistic`` and ``consumers.archive.commit``:
conditional statements per item, conditional creation of objects, replies that get lost after the
work was done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from consumers.archive.commit import Put
from consumers.hot.optimistic import Key, Outcome, Statement, Stored

Fault = Callable[[str], str]
"""Asked before each statement, read or put with what it is; answers ``ok``, ``throttle``,
``lost_before`` (not applied, unknown to the caller) or ``lost_after`` (applied, unknown)."""


def no_fault(_: str) -> str:
    return "ok"


class MemoryDynamo:
    """Items by table and key, changed only by INSERT and conditional UPDATE."""

    def __init__(self, fault: Fault = no_fault) -> None:
        self.tables: dict[str, dict[Key, dict[str, Any]]] = {}
        self.fault = fault
        self.calls = 0

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        assert 0 < len(statements) <= 25
        assert len({self.target(s) for s in statements}) == len(statements), "items repeat"
        self.calls += 1
        outcomes = []
        for statement in statements:
            fault = self.fault("write")
            if fault == "throttle":
                outcomes.append(Outcome.THROTTLED)
            elif fault == "lost_before":
                outcomes.append(Outcome.UNKNOWN)
            else:
                outcome = self.apply(statement)
                outcomes.append(Outcome.UNKNOWN if fault == "lost_after" else outcome)
        return outcomes

    def read(
        self, table: str, key_names: tuple[str, ...], keys: Sequence[Key]
    ) -> tuple[Stored, Sequence[Key]]:
        assert 0 < len(keys) <= 100
        unanswered = [key for key in keys if self.fault("read") != "ok"]
        items = self.tables.get(table, {})
        found = {key: dict(items[key]) for key in keys if key in items and key not in unanswered}
        return found, unanswered

    def target(self, statement: Statement) -> tuple[str, Key]:
        """The table and the key of the item that a statement is about."""
        table, key, _, _ = parse(statement)
        return table, key

    def apply(self, statement: Statement) -> Outcome:
        """Run one statement."""
        table, key, expected, attributes = parse(statement)
        items = self.tables.setdefault(table, {})
        stored = items.get(key)
        if expected is None:
            if stored is not None:
                return Outcome.CONFLICT
        elif stored is None or int(stored["ver"]["N"]) != expected:
            return Outcome.CONFLICT
        items[key] = {**(stored or {}), **attributes}
        return Outcome.WRITTEN


def parse(statement: Statement) -> tuple[str, Key, int | None, dict[str, Any]]:
    """Table, key, expected version and attributes of the two statements that exist. The key comes
    before ``ver``, which comes before the columns."""
    values = list(statement.parameters)
    table = re.findall(r'"([^"]+)"', statement.text)[0]
    if statement.text.startswith("INSERT"):
        names = re.findall(r"'([^']+)': \?", statement.text)
        attributes = dict(zip(names, values, strict=True))
        key = tuple(attributes[name]["S"] for name in names[: names.index("ver")])
        return table, key, None, attributes
    changed, condition = statement.text.split(" WHERE ")
    fields = re.findall(r'"([^"]+)"=\?', changed)
    *key_names, _ver = re.findall(r'"([^"]+)"=\?', condition)
    attributes = dict(zip(fields, values[: len(fields)], strict=True))
    *key_values, ver = values[len(fields) :]
    attributes |= dict(zip(key_names, key_values, strict=True))
    return table, tuple(part["S"] for part in key_values), int(ver["N"]), attributes


class MemoryS3:
    """Objects that can be created and never replaced. Bodies are kept as given."""

    def __init__(self, fault: Fault = no_fault) -> None:
        self.objects: dict[str, tuple[bytes, Mapping[str, str]]] = {}
        self.fault = fault

    def create(self, key: str, body: BinaryIO, metadata: Mapping[str, str]) -> Put:
        fault = self.fault("put")
        if fault in ("throttle", "lost_before"):
            return Put.AGAIN
        created = key not in self.objects
        if created:
            body.seek(0)
            self.objects[key] = (body.read(), metadata)
        if fault == "lost_after":
            return Put.AGAIN
        return Put.CREATED if created else Put.EXISTS

    def metadata(self, key: str) -> Mapping[str, Any] | None:
        return self.objects[key][1] if self.fault("head") == "ok" else None

    def keys(self, prefix: str) -> Sequence[str] | None:
        if self.fault("list") != "ok":
            return None
        return [key for key in self.objects if key.startswith(prefix)]
