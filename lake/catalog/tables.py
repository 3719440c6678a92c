"""The Iceberg tables ``records`` and ``readings``: schemas, partitions, creation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of
from pyiceberg.transforms import DayTransform, HourTransform, Transform
from pyiceberg.types import (
    BinaryType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    MapType,
    NestedField,
    StringType,
    TimestamptzType,
)

from lake.archive.distinct import READING_COLUMNS
from lake.archive.rows import ROW_SCHEMA
from lake.catalog.config import READINGS, RECORDS, CatalogConfig

_TYPES: Final[dict[str, IcebergType]] = {
    "string": StringType(),
    "timestamp[ms, tz=UTC]": TimestamptzType(),
    "int64": LongType(),
    "int32": IntegerType(),
    "binary": BinaryType(),
}
_COLUMNS: Final = {RECORDS: tuple(ROW_SCHEMA.names), READINGS: READING_COLUMNS}
_PARTITION: Final[dict[str, tuple[str, str, Transform[Any, Any]]]] = {
    RECORDS: ("arrived_at", "arrived_hour", HourTransform()),
    READINGS: ("ts", "day", DayTransform()),
}


def table_of(catalog: Catalog, config: CatalogConfig, name: str) -> Table:
    """The table, made when it is not there."""
    identifier = config.table(name)
    if not catalog.table_exists(identifier):
        try:
            if not catalog.namespace_exists(config.namespace):  # a template may have made it
                catalog.create_namespace_if_not_exists(config.namespace)
            return _create(catalog, config, name)
        except (NamespaceAlreadyExistsError, TableAlreadyExistsError):
            pass  # another one made it meanwhile
    return catalog.load_table(identifier)


def summary(table: Table) -> Mapping[str, str]:
    """The summary of the newest snapshot that Penstock made; empty when there is none. Other tools,
    as Athena's OPTIMIZE, make snapshots too, which change no rows."""
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        found = snapshot.summary.additional_properties if snapshot.summary else {}
        if any(name.startswith("penstock.") for name in found):
            return found
    return {}


def _create(catalog: Catalog, config: CatalogConfig, name: str) -> Table:
    schema = schema_of(name)
    column, partition, transform = _PARTITION[name]
    field = PartitionField(schema.find_field(column).field_id, 1000, transform, partition)
    return catalog.create_table(
        config.table(name),
        schema,
        location=config.location(name),
        partition_spec=PartitionSpec(field),
        properties={
            # A writer that lost must look again at what is there before it writes again.
            "commit.retry.num-retries": "0",
            # Files have no Iceberg ids: columns are found by name.
            "schema.name-mapping.default": schema.name_mapping.model_dump_json(),
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "100",
        },
    )


def schema_of(name: str) -> Schema:
    """The Iceberg schema of a table: the archive's columns with their types."""
    columns = _COLUMNS[name]
    inside = len(columns)
    fields = []
    for number, column in enumerate(columns, start=1):
        kind = (
            MapType(inside + 1, StringType(), inside + 2, DoubleType(), value_required=False)
            if column == "metrics"
            else _TYPES[str(ROW_SCHEMA.field(column).type)]
        )
        fields.append(NestedField(number, column, kind))
    return Schema(*fields)
