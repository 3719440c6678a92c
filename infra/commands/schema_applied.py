"""``penstock schema list`` and ``show``: what a deployment judges by."""

from __future__ import annotations

import time

import rich_click as click
from msgspec import to_builtins
from rich.table import Table

from infra.commands.options import aws_option, json_option
from infra.commands.schema_files import range_text, schemas_table
from infra.console import STDOUT, UserError, print_json, say
from infra.schemas import applied_schemas
from infra.target import find_target
from ingest.schemas.schema import view_name
from ingest.times import show_time


@click.command("list")
@json_option
@aws_option
def list_(as_json: bool, aws: bool) -> None:
    """List the schemas that were applied last."""
    newest = applied_schemas(find_target(aws=aws)).newest
    if as_json:
        print_json({"since": newest.since, "schemas": to_builtins(newest.schemas)})
        return
    if not newest.schemas:
        raise UserError(
            "no schemas are applied: write schemas/*.toml, then `penstock schema apply`"
        )
    STDOUT.print(schemas_table(newest.schemas))
    if newest.since > time.time() * 1000:
        say(f"in force from {show_time(newest.since)} UTC on")


@click.command("show")
@click.argument("kind", metavar="TYPE")
@json_option
@aws_option
def show_(kind: str, as_json: bool, aws: bool) -> None:
    """Show the schema of a TYPE of device, and the versions before it."""
    history = applied_schemas(find_target(aws=aws))
    found = [
        (one.since, schema)
        for one in history.applied
        for schema in one.schemas
        if schema.type == kind
    ]
    if not found:
        raise UserError(f"no schema of type {kind!r} is applied: see `penstock schema list`")
    newest = found[-1][1]
    versions = {schema.version: since for since, schema in reversed(found)}
    if as_json:
        print_json({**to_builtins(newest), "view": view_name(kind), "versions": versions})
        return
    table = Table("metric", "unit", "range", "description", box=None, pad_edge=False)
    for name, metric in newest.metrics.items():
        table.add_row(name, metric.unit, range_text(metric), metric.description)
    STDOUT.print(
        f"{kind}, version {newest.version}, outside: {newest.outside}, view {view_name(kind)}",
        markup=False,
    )
    STDOUT.print(table)
    for version, since in sorted(versions.items()):
        STDOUT.print(f"version {version} in force from {show_time(since)} UTC on", markup=False)
