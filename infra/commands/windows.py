"""``penstock windows``: a device's newest windows of a tier."""

from __future__ import annotations

import time
from typing import Any

import rich_click as click
from rich.table import Table

from infra.commands.items import plain
from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, UserError, print_json
from infra.target import Target, find_target
from ingest.tables.hot import is_expired, newest_windows_query
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


def read_windows(target: Target, device: str, tier: str, last: int) -> list[dict[str, Any]]:
    """A device's newest windows of a tier, newest first, expired ones left out."""
    query = newest_windows_query(target.settings.windows_table, device, tier, last)
    answer = target.client("dynamodb", "dashboard").query(**query)
    now = time.time()
    return [plain(item) for item in answer["Items"] if not is_expired(item, now)]


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
