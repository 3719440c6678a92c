"""The schema that a fleet's readings follow, from its file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ingest.schemas.schema import Schema
from ingest.schemas.schema_file import SchemaError, parse_schema
from simulator.errors import ScenarioError


@cache
def schema_at(path: str) -> Schema:
    """The schema in a file.

    :raises ScenarioError: when there is none, or it is wrong.
    """
    try:
        return parse_schema(Path(path).read_text(), path)
    except (OSError, SchemaError) as error:
        raise ScenarioError(str(error)) from None


def check_type(path: str, device_type: str, fleet: str) -> None:
    """:raises ScenarioError: when the schema is of another type than the fleet's devices."""
    if schema_at(path).type != device_type:
        raise ScenarioError(
            f"fleet {fleet} is of type {device_type}, its schema of {schema_at(path).type}"
        )
