"""``penstock windows``: a device's windows of a tier, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson
import rich_click as click

from infra.commands.items import plain
from infra.commands.options import Time, aws_option, json_option
from infra.commands.rejected import rejected_line, rejected_of
from infra.console import UserError, print_json, say
from infra.runfile import running_stack
from infra.target import Target, find_target
from ingest.tables.hot import is_expired, newest_windows_query, windows_query
from ingest.tiers import Tier
from ingest.times import show_time
from ingest.topic import check_device_id

LAST: Final = 10
MOST: Final = 1000
FOLLOW_S: Final = 1.0
FIELDS: Final = ("n", "mean", "min", "max", "first", "last")
_FOREVER_MS: Final = 253_370_764_800_000  # the year 9999


@click.command()
@click.argument("device")
@click.option("--tier", help="Window size, as 10s, 1m or 1h.  [default: 1m, or the finest]")
@click.option("--last", type=click.IntRange(1, MOST),
              help=f"How many windows.  [default: {LAST}; with --from {MOST}]")  # fmt: skip
@click.option("--from", "start", type=Time(), metavar="TIME",
              help="The first window begins at this time or later (ISO 8601, UTC).")  # fmt: skip
@click.option("--to", "end", type=Time(), metavar="TIME",
              help="The last window begins at this time or earlier.")  # fmt: skip
@click.option("--follow", is_flag=True, help="Show windows as they change, until Ctrl-C.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout, a metric a line.")
@json_option
@aws_option
def windows(
    device: str,
    tier: str | None,
    last: int | None,
    start: int | None,
    end: int | None,
    follow: bool,
    as_csv: bool,
    as_json: bool,
    aws: bool,
) -> None:
    """Show a DEVICE's windows, newest first: count, mean, least and greatest value a metric.

    The time is a window's beginning, in UTC. With --follow the newest come last, each again
    whenever it changes; with --json each is then one line.
    """
    try:
        check_device_id(device)
    except ValueError as error:
        raise UserError(str(error)) from None
    if as_csv and (as_json or follow):
        raise click.UsageError("--csv stands alone: without --json and --follow")
    if follow and (start is not None or end is not None):
        raise click.UsageError("--follow shows what is new: without --from and --to")
    target = find_target(aws=aws)
    tier = tier or _usual_tier(target)
    if follow:
        _follow(target, device, tier, as_json=as_json)
        return
    count = last or (LAST if start is None else MOST)
    items = read_windows(target, device, tier, count, start, end)
    _tell_about_tier(target, tier, found=bool(items))
    if as_json:
        print_json(items)
    elif as_csv:
        _write_csv(device, items)
    elif items:
        sys.stdout.write("".join(f"{line}\n" for line in table_lines(items)))
    if (rejected := rejected_of(target, device)) is not None:
        say(rejected_line(device, rejected))
    if not items and not as_json:
        within = "" if start is None and end is None else " in that time"
        raise UserError(
            f"{device} has no {tier} windows{within or ' yet'}; `penstock devices` shows who has "
            "sent"
        )


def read_windows(
    target: Target,
    device: str,
    tier: str,
    last: int,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> list[dict[str, Any]]:
    """A device's newest ``last`` windows of a tier that begin in the span (ms since 1970, both
    ends included), newest first; expired ones are left out. Each has the item's attributes, and
    ``start`` (ISO 8601)."""
    table = target.settings.windows_table
    if start_ms is None and end_ms is None:
        query = newest_windows_query(table, device, tier, last)
    else:
        span = (start_ms or 0, _FOREVER_MS if end_ms is None else end_ms)
        query = {**_span_query(table, device, tier, *span), "ScanIndexForward": False}
    client = target.client("dynamodb", "dashboard")
    now = time.time()
    found: list[dict[str, Any]] = []
    while True:
        answer = client.query(**query)
        found += [_shown(item) for item in answer["Items"] if not is_expired(item, now)]
        if len(found) >= last or "LastEvaluatedKey" not in answer:
            return found[:last]
        query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _span_query(table: str, device: str, tier: str, start_ms: int, end_ms: int) -> dict[str, Any]:
    try:
        return windows_query(table, device, tier, start_ms, end_ms)
    except (ValueError, OverflowError, OSError):
        raise UserError("--from or --to is a time that no calendar knows") from None


def _shown(item: Mapping[str, Any]) -> dict[str, Any]:
    found = plain(item)
    return {"start": found["window"].split("#", 1)[1], **found}


def _usual_tier(target: Target) -> str:
    names = [tier.name for tier in target.settings.tiers]
    return "1m" if "1m" in names else names[0]


def _tell_about_tier(target: Target, tier: str, *, found: bool) -> None:
    """Say when a tier's windows may not be complete.

    :raises UserError: when there is no such tier, and never was.
    """
    names = [one.name for one in target.settings.tiers]
    if tier not in names:
        if not found or not _is_tier(tier):
            raise UserError(f"there is no tier {tier!r} here; choose from {', '.join(names)}")
        say(f"{tier} is no tier any more: its windows stay as they are until they expire")
    stack = running_stack() if target.local else None
    since = stack.tiers_since.get(tier, 0) if stack else 0
    if since:
        size = Tier(tier, 1, 1).size_ms
        first = -(-since // size) * size
        say(f"tier {tier} was added later: its windows are complete from {show_time(first)} UTC on")


def _is_tier(name: str) -> bool:
    try:
        Tier(name, 1, 1)
    except ValueError:
        return False
    return True


def table_lines(items: Iterable[Mapping[str, Any]], *, heading: bool = True) -> list[str]:
    """The windows as lines of text, the time first, within 80 columns for names up to some 20
    characters; nothing is cut."""
    rows = [
        (_time(item) if index == 0 else "", name, str(metric["n"]),
         *(f"{metric[field]:.6g}" for field in ("mean", "min", "max", "last")))
        for item in items
        for index, (name, metric) in enumerate(sorted(item["metrics"].items()))
    ]  # fmt: skip
    titles = ("time (UTC)", "metric", "n", "mean", "min", "max", "last")
    widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]
    return [
        " ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in ([titles, *rows] if heading else rows)
    ]


def _time(item: Mapping[str, Any]) -> str:
    return str(item["start"]).replace("T", " ").removesuffix("Z")


def _write_csv(device: str, items: Iterable[Mapping[str, Any]]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(("start", "device", "metric", *FIELDS))
    for item in items:
        for name, metric in sorted(item["metrics"].items()):
            writer.writerow((item["start"], device, name, *(metric[field] for field in FIELDS)))


def _follow(target: Target, device: str, tier: str, *, as_json: bool) -> None:
    heading = not as_json
    try:
        for item in changes(target, device, tier):
            if as_json:
                sys.stdout.write(orjson.dumps(item).decode() + "\n")
            else:
                sys.stdout.write("".join(f"{x}\n" for x in table_lines([item], heading=heading)))
                heading = False
            sys.stdout.flush()
    except KeyboardInterrupt:
        return


def changes(target: Target, device: str, tier: str) -> Iterator[dict[str, Any]]:
    """The newest windows of a tier, each once at first and again whenever it changes, oldest
    first; for ever."""
    seen: dict[str, int] = {}
    while True:
        for item in reversed(read_windows(target, device, tier, 3)):
            if seen.get(item["start"]) != item["ver"]:
                seen[item["start"]] = item["ver"]
                yield item
        time.sleep(FOLLOW_S)
