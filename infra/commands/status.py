"""``penstock status``."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import Any

import orjson
import rich_click as click
from rich.table import Column, Table

from infra.commands.options import aws_option, json_option
from infra.commands.rejected import rejected_line
from infra.commands.status_aws import show_deployment
from infra.console import STDOUT, UserError, print_json
from infra.runfile import running_stack
from infra.target import find_target

REJECTED_SHOWN = 5
WORKER_URL = "http://127.0.0.1:9464"


@click.command()
@click.option("--worker", metavar="URL", help="A worker's status address.  [default: the local "
              f"stack's, else {WORKER_URL}]")  # fmt: skip
@click.option("--stack", "name", metavar="NAME", help="A stack on AWS, whatever the settings name.")
@json_option
@aws_option
def status(worker: str | None, name: str | None, as_json: bool, aws: bool) -> None:
    """Show the stack, and for each shard its lag and its last commit.

    Of the local stack, or of one worker. With `--aws` or `--stack NAME`, of a deployment on AWS,
    from anywhere: its stacks, its workers and their shards, its alarms, the queue of rule errors,
    the last object of the archive, and what the write units of yesterday cost. What cannot be
    asked says why, and the rest is shown.
    """
    if worker and (aws or name):
        raise click.UsageError("--worker asks one worker, --aws a whole deployment: choose one")
    if aws or name:
        show_deployment(find_target(aws=True, **({"stack": name} if name else {})), as_json)
        return
    stack = running_stack()
    url = worker or (stack.status_url if stack else WORKER_URL)
    document = _read(url)
    if stack and not worker:
        document = {
            "stack": stack.settings.get("stack", "penstock"),
            "pid": stack.pid,
            "endpoint_url": stack.settings["endpoint_url"],
            "mqtt": f"{stack.settings['iot_host']}:{stack.settings['iot_port']}",
            **document,
        }
    if as_json:
        print_json(document)
    else:
        _show(document)


def _read(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/status", timeout=5) as answer:  # noqa: S310
            document: dict[str, Any] = orjson.loads(answer.read())
    except (OSError, ValueError, urllib.error.URLError):
        raise UserError(
            f"no worker answers at {url}: start a stack with `penstock up` in this folder, "
            "name a worker's address with --worker, or ask a deployment on AWS with --aws"
        ) from None
    return document


def _show(document: dict[str, Any]) -> None:
    if "stack" in document:
        STDOUT.print(
            f"local stack {document['stack']}: AWS at {document['endpoint_url']}, "
            f"MQTT at {document['mqtt']}, process {document['pid']}"
        )
    dispositions = ", ".join(f"{count} {name}" for name, count in document["dispositions"].items())
    latency = document["latency_ms"]
    STDOUT.print(f"{document['records']} records; readings: {dispositions or 'none yet'}")
    if latency["p50"] is not None:
        STDOUT.print(
            f"device to hot store: p50 {latency['p50']} ms, p99 {latency['p99']} ms; "
            f"longest stall {document['longest_stall_ms'] / 1000:.1f} s"
        )
    STDOUT.print(
        f"conflicts {document['conflicts']}, throttled {document['throttled']}, "
        f"restarts {document['restarts']}"
    )
    table = Table(Column("shard", no_wrap=True), "records", "lag", "commits", "last commit")
    for shard in document["shards"]:
        lag = shard["lag_ms"]
        table.add_row(
            shard["shard"],
            str(shard["records"]),
            "?" if lag is None else f"{lag / 1000:.1f} s",
            str(shard["commits"]),
            _ago(shard["committed_at"]),
        )
    STDOUT.print(table)
    for device, rejected in list(document["rejected_devices"].items())[:REJECTED_SHOWN]:
        STDOUT.print(rejected_line(device, rejected), markup=False)


def _ago(at: int | None) -> str:
    return "never" if at is None else f"{max(0.0, time.time() - at / 1000):.0f} s ago"
