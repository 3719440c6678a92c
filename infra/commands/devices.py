"""``penstock devices``: the roster with each device's latest values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import rich_click as click
from rich.table import Table

from infra.commands.items import plain
from infra.commands.options import aws_option, json_option
from infra.commands.rejected import Rejected, rejected_devices
from infra.console import STDOUT, UserError, print_json
from infra.target import Target, find_target
from ingest.tables.hot import roster_scans
from ingest.times import show_time


@click.command()
@json_option
@aws_option
def devices(as_json: bool, aws: bool) -> None:
    """List the devices: group, type, the time of the last reading and its values.

    A device of which readings were archived and not folded lately shows how many, by
    disposition; `penstock windows DEVICE` says why.
    """
    target = find_target(aws=aws)
    items = sorted(read_devices(target), key=lambda item: str(item["device"]))
    rejected = rejected_devices(target)
    for item in items:
        item["rejected"] = rejected.get(item["device"])
    if as_json:
        print_json(items)
    elif items:
        STDOUT.print(_devices_table(items))
    else:
        raise UserError("no devices yet; make one with `penstock device create NAME`")


def read_devices(target: Target) -> Iterator[dict[str, Any]]:
    """Every device of the roster."""
    pages = target.client("dynamodb", "dashboard").get_paginator("scan")
    for scan in roster_scans(target.settings.devices_table):
        for page in pages.paginate(**scan):
            yield from (plain(item) for item in page["Items"])


def _devices_table(items: list[dict[str, Any]]) -> Table:
    rejects = any(item["rejected"] for item in items)
    columns = ["device", "group", "type", "last reading (UTC)", "latest"]
    table = Table(*columns, *(["not folded"] if rejects else []), box=None, pad_edge=False)
    for item in items:
        seen = item.get("last_seen")
        latest = item.get("metrics", {})
        table.add_row(
            item["device"],
            item.get("group", ""),
            item.get("type", ""),
            show_time(seen) if seen else "never",
            ", ".join(f"{name} {value['v']:.6g}" for name, value in sorted(latest.items())),
            *([_rejects(item["rejected"])] if rejects else []),
        )
    return table


def _rejects(rejected: Rejected | None) -> str:
    counts = rejected["dispositions"] if rejected else {}
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
