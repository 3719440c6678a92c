"""``penstock windows`` and ``penstock devices``: the hot tables, read as a dashboard would."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import rich_click as click
from boto3.dynamodb.types import TypeDeserializer
from rich.table import Table

from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, UserError, print_json
from infra.target import Target, find_target
from ingest.roster import BUCKETS
from ingest.topic import check_device_id


@click.command()
@click.argument("device")
@click.option("--tier", default="1m", show_default=True, help="Window size, as 10s, 1m or 1h.")
@click.option("--last", default=10, show_default=True, type=click.IntRange(1, 1000),
              help="How many windows, newest first.")  # fmt: skip
@json_option
@aws_option
def windows(device: str, tier: str, last: int, as_json: bool, aws: bool) -> None:
    """Show a DEVICE's newest windows: count, mean, least and greatest value of each metric."""
    try:
        check_device_id(device)
    except ValueError as error:
        raise UserError(str(error)) from None
    target = find_target(aws=aws)
    names = [t.name for t in target.settings.tiers]
    if tier not in names:
        raise UserError(f"there is no tier {tier!r} here; choose from {', '.join(names)}")
    items = read_windows(target, device, tier, last)
    if as_json:
        print_json(items)
    elif items:
        STDOUT.print(_windows_table(device, items))
    else:
        raise UserError(
            f"{device} has no {tier} windows yet; `penstock devices` shows who has sent"
        )


@click.command()
@json_option
@aws_option
def devices(as_json: bool, aws: bool) -> None:
    """List the devices: group, type, when each was last heard and what it said."""
    target = find_target(aws=aws)
    items = sorted(read_devices(target), key=lambda item: str(item["device"]))
    if as_json:
        print_json(items)
    elif items:
        STDOUT.print(_devices_table(items))
    else:
        raise UserError("no devices yet; make one with `penstock device create NAME`")


def read_windows(target: Target, device: str, tier: str, last: int) -> list[dict[str, Any]]:
    """A device's newest windows of a tier, newest first, expired ones left out."""
    answer = target.client("dynamodb", "dashboard").query(
        TableName=target.settings.windows_table,
        KeyConditionExpression="device = :d AND begins_with(#w, :t)",
        ExpressionAttributeNames={"#w": "window"},
        ExpressionAttributeValues={":d": {"S": device}, ":t": {"S": f"{tier}#"}},
        ScanIndexForward=False,
        Limit=last,
    )
    now = time.time()
    items = [_plain(item) for item in answer["Items"]]
    return [item for item in items if item["expires_at"] > now]


def read_devices(target: Target) -> Iterator[dict[str, Any]]:
    """Every device of the roster."""
    pages = target.client("dynamodb", "dashboard").get_paginator("query")
    for bucket in range(BUCKETS):
        for page in pages.paginate(
            TableName=target.settings.devices_table,
            KeyConditionExpression="#b = :b",
            ExpressionAttributeNames={"#b": "bucket"},
            ExpressionAttributeValues={":b": {"S": f"{bucket:02d}"}},
        ):
            yield from (_plain(item) for item in page["Items"])


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    deserialize = TypeDeserializer().deserialize
    return {name: _number(deserialize(value)) for name, value in item.items()}


def _number(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _number(inner) for name, inner in value.items()}
    if hasattr(value, "as_tuple"):  # a Decimal
        return int(value) if value == int(value) and abs(value) < 2**53 else float(value)
    return value


def _windows_table(device: str, items: list[dict[str, Any]]) -> Table:
    table = Table("window", "metric", "n", "mean", "min", "max", "last", title=device)
    for item in items:
        for index, (name, metric) in enumerate(sorted(item["metrics"].items())):
            table.add_row(
                item["window"].split("#")[1] if index == 0 else "",
                name,
                str(metric["n"]),
                *(f"{metric[field]:.6g}" for field in ("mean", "min", "max", "last")),
            )
    return table


def _devices_table(items: list[dict[str, Any]]) -> Table:
    table = Table("device", "group", "type", "last heard (UTC)", "latest")
    for item in items:
        seen = item.get("last_seen")
        latest = item.get("metrics", {})
        table.add_row(
            item["device"],
            item.get("group", ""),
            item.get("type", ""),
            f"{datetime.fromtimestamp(seen / 1000, UTC):%Y-%m-%d %H:%M:%S}" if seen else "never",
            ", ".join(f"{name} {value['v']:.6g}" for name, value in sorted(latest.items())),
        )
    return table
