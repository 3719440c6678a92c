"""Views with a real column for each metric, one for each type of device that has a schema. Pure:
schemas in, text out.

A device is of the type that the roster has now; readings of devices that are no longer in it are in
``readings`` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ingest.schemas.schema import Schema, column_names, view_name
from lake.archive.distinct import READING_COLUMNS
from lake.sql.views import quoted

TYPES_TABLE: Final = "device_types"
"""A table that the session makes: ``device_id``, ``type``."""

_NAMED: Final = re.compile(r"\breadings_[a-z0-9_]+", re.IGNORECASE)
_BEFORE: Final = tuple(name for name in READING_COLUMNS if name != "metrics")


class DeviceTypes(NamedTuple):
    """Schemas, and each device with its type."""

    schemas: Sequence[Schema]
    devices: Sequence[tuple[str, str]]


def names_a_view(sql: str) -> bool:
    """Whether a query may be about one of these views.

    >>> names_a_view("SELECT avg(pressure) FROM readings_pump")
    True
    """
    return _NAMED.search(sql) is not None


def typed_views(schemas: Sequence[Schema]) -> Iterator[str]:
    """``CREATE VIEW readings_<type>`` for each schema, over the view ``readings``."""
    for schema in schemas:
        columns = column_names(schema.metrics, _BEFORE)
        metrics = "".join(
            f", metrics[{quoted(name)}] AS {_identifier(column)}"
            for name, column in columns.items()
        )
        yield (
            f"CREATE OR REPLACE TEMP VIEW {_identifier(view_name(schema.type))} AS "
            f"SELECT {', '.join(_BEFORE)}{metrics} FROM readings WHERE device_id IN "
            f"(SELECT device_id FROM {TYPES_TABLE} WHERE type = {quoted(schema.type)})"
        )


def _identifier(name: str) -> str:
    """A name of SQL."""
    return '"' + name.replace('"', '""') + '"'
