"""Hot tables that lost or spoiled windows, made right from the archive beside live traffic."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from tests.chaos.faults import on_own_site
from tests.chaos.faults.processes import working
from tests.chaos.plan import Fault, Rule
from tests.chaos.site import Site
from tests.harness.command import PENSTOCK, environment

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS


def penstock(
    site: Site, *arguments: str, proxied: bool = False, more: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command on the site's stack, with ``more`` variables of the environment."""
    settings = site.settings
    own = {
        "PENSTOCK_STACK": settings.stack,
        "PENSTOCK_ENDPOINT_URL": site.proxy.url if proxied else site.emulator.endpoint_url,
        "PENSTOCK_TIERS": msgspec.json.encode(settings.tiers).decode(),
        "PENSTOCK_SEGMENT_AGE_S": str(settings.segment_age_s),
        "PENSTOCK_LATEST_FLUSH_S": str(settings.latest_flush_s),
        "PENSTOCK_CLOCK_AHEAD_S": str(settings.clock_ahead_s),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    return subprocess.Popen(
        [*PENSTOCK, *arguments],
        cwd=site.folder,
        env={**environment(), **own, **(more or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(running: subprocess.Popen[str], code: int = 0) -> Any:
    """The document that a command printed."""
    out, err = running.communicate(timeout=150)
    assert running.returncode == code, f"exit code {running.returncode}: {err[-500:]}"
    return json.loads(out)


def this_hour() -> tuple[str, ...]:
    """The options for every window of the hours around now."""
    now = time.time_ns() // 1_000_000
    return "--from", str(now - HOUR_MS), "--to", str(now + MINUTE_MS), "--json"


@contextmanager
def windows_without_a_worker(site: Site) -> Iterator[list[dict[str, Any]]]:
    """What some load left in the windows, at a time at which no worker has any of it in memory."""
    with site.load(8, devices=30, rate=2):
        worker = working(site)
    site.drain()
    worker.end()
    pages = site.dynamodb.get_paginator("scan").paginate(
        TableName=site.settings.windows_table, ConsistentRead=True
    )
    yield [item for page in pages for item in page["Items"]]


def _lose(site: Site, items: list[dict[str, Any]]) -> None:
    for item in items:
        key = {name: item[name] for name in ("device", "window")}
        site.dynamodb.delete_item(TableName=site.settings.windows_table, Key=key)


@on_own_site()
def windows_are_lost_and_replayed_beside_traffic(site: Site) -> None:
    """Every window is gone; two replays at once bring them back while devices send, a worker's
    child is killed, and one of the replays is."""
    with windows_without_a_worker(site) as items:
        _lose(site, items)
    with site.load(20, devices=8, rate=5):
        worker = working(site)
        site.spoil(Rule("dynamodb", Fault.DELAY, "BatchExecuteStatement", seconds=0.3))
        killed = penstock(site, "replay", *this_hour(), proxied=True)
        other = penstock(site, "replay", *this_hour(), proxied=True)
        site.until(
            lambda: site.dynamodb.scan(TableName=site.settings.windows_table)["Count"] > 20,
            60, "windows that are back",
        )  # fmt: skip
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        os.kill(worker.children()[0], signal.SIGKILL)
        assert ended(other)["readings"] > 0
        site.heal()
    site.drain()
    ended(penstock(site, "replay", *this_hour()))
    audit = ended(penstock(site, "audit", *this_hour()))
    assert audit["verdict"] == "clean"
    assert audit["windows"] > len(items) // 2


@on_own_site()
def a_rebuild_is_interrupted(site: Site) -> None:
    """Windows are wrong, incomplete or gone; the rebuild is killed in the middle of its writes, and
    goes on, while devices send and a worker writes."""
    with windows_without_a_worker(site) as items:
        _lose(site, items[::3])
        for item in items[1::3]:
            item["n"] = {"N": str(int(item["n"]["N"]) + 7)}
            for metric in item["metrics"]["M"].values():
                metric["M"]["sum"] = {"N": "-1"}
            site.dynamodb.put_item(TableName=site.settings.windows_table, Item=item)
    before = ended(penstock(site, "audit", *this_hour()), code=1)
    assert len(before["differences"]) >= 2 * (len(items) // 3)
    with site.load(20, devices=8, rate=5):
        working(site)
        plan = site.spoil(Rule("dynamodb", Fault.DELAY, "BatchExecuteStatement", seconds=1.0))
        killed = penstock(site, "rebuild", *this_hour(), proxied=True)
        site.until(lambda: not plan.idle(), 30, "a write")
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        site.heal()
        penstock(site, "rebuild", *this_hour()).communicate(timeout=150)
    site.drain()
    assert ended(penstock(site, "rebuild", *this_hour()))["left"] == 0
    assert ended(penstock(site, "audit", *this_hour()))["verdict"] == "clean"
