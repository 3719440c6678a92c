"""``penstock schema check`` and ``apply``: schemas of device types from TOML files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from msgspec import to_builtins
from rich.table import Table

from infra.commands.options import aws_option, json_option
from infra.commands.write_target import find_operator_target
from infra.console import STDOUT, UserError, print_json, say
from infra.schemas import apply_schemas
from ingest.schemas.schema import Metric, Schema
from ingest.schemas.schema_file import SchemaError, read_schemas
from ingest.times import show_time

FOLDER = Path("schemas")

folder_argument = click.argument(
    "folder", default=FOLDER, type=click.Path(path_type=Path, exists=False)
)


@click.command("check")
@folder_argument
@json_option
def check_(folder: Path, as_json: bool) -> None:
    """Check the schemas in FOLDER, schemas/ by default, without applying them.

    A wrong schema is named with its file, its line and what is wrong with it.
    """
    schemas = _read(folder)
    if as_json:
        print_json(to_builtins(schemas))
    else:
        STDOUT.print(schemas_table(schemas))
        say(f"{len(schemas)} schemas are right; `penstock schema apply` puts them into force")


@click.command("apply")
@folder_argument
@json_option
@aws_option
def apply_(folder: Path, as_json: bool, aws: bool) -> None:
    """Put the schemas in FOLDER, schemas/ by default, into force in place of those before.

    They judge what the stream takes from 20 s after this on. A schema that says something else than
    the applied one needs a higher version. What a schema before it quarantined is folded by
    `penstock schema admit`.
    """
    schemas = _read(folder)
    change = apply_schemas(find_operator_target("apply schemas", aws=aws), schemas)
    if as_json:
        print_json(asdict(change))
        return
    for what in ("added", "changed", "removed"):
        if names := getattr(change, what):
            STDOUT.print(f"{what}: {', '.join(names)}", markup=False)
    if change:
        say(f"in force for what the stream takes from {show_time(change.since)} UTC on")
    else:
        say("nothing to change")


def schemas_table(schemas: Sequence[Schema]) -> Table:
    """Schemas for a person."""
    table = Table("type", "version", "outside", "metrics", box=None, pad_edge=False)
    for schema in schemas:
        metrics = ", ".join(_metric(name, one) for name, one in schema.metrics.items())
        table.add_row(schema.type, str(schema.version), schema.outside, metrics)
    return table


def _metric(name: str, metric: Metric) -> str:
    return " ".join(filter(None, (name, range_text(metric), metric.unit)))


def range_text(metric: Metric) -> str:
    """A range for a person; empty for none.

    >>> range_text(Metric(min=0.0))
    '0…'
    """
    low, high = ("" if one is None else f"{one:g}" for one in (metric.min, metric.max))
    return f"{low}…{high}" if low or high else ""


def _read(folder: Path) -> list[Schema]:
    try:
        return read_schemas(folder)
    except SchemaError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(
            f"cannot read schemas ({error}): see docs/schemas.md for a first one"
        ) from None
