"""Alarms about devices of every shard, silence and groups, while the worker that decides them dies:
invariant T."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from devices.identity import Identity
from infra.local.stack import LOCAL_SETTINGS
from ingest.message import Reading
from ingest.tables.alarms import read_alarms
from simulator.load.senders import messages as cut_messages
from simulator.verification.ledger import OK
from tests.chaos.faults import on_own_site
from tests.chaos.faults.alerts import LONGER, WITH_ALERTS, bus
from tests.chaos.plan import Fault
from tests.chaos.site import Site
from tests.harness.command import PENSTOCK, environment
from tests.harness.processes import descendants

SILENT_S: Final = 60
QUIET: Final = 6
"""Devices that fall silent."""
MOVED_S: Final = 120.0
"""What the duty's way to another worker may add, twice, and a bus that takes nothing meanwhile."""

RULES: Final = f"""
[[rule]]
name = "gone"
silent = "{SILENT_S}s"
severity = "critical"

[[rule]]
name = "busy"
per = "group"
tier = "{LONGER.name}"
when = "n() > 100"

[[rule]]
name = "restless"
per = "group"
tier = "{LONGER.name}"
when = "change(voltage) > 0"
for = "1 of 2"
clear_for = 2
"""


class WorkerProcess:
    """``penstock consume`` in a process of its own, which dies with all that it started."""

    def __init__(self, site: Site) -> None:
        settings = {
            **LOCAL_SETTINGS,
            **site.settings.model_dump(include=set(LOCAL_SETTINGS) | {"alerts", "stack"}),
            "tiers": site.settings.tiers,
            "endpoint_url": site.proxy.url,
            "status_port": 0,
        }
        with (site.folder / "workers.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*PENSTOCK, "consume"],
                cwd=site.folder,
                env={**environment(), **_variables(settings)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        site.processes.append(self)

    def end(self) -> None:
        """Kill it, and every process that it has started."""
        if self._process.poll() is not None:
            return
        started = [pid for pid, _ in descendants(self._process.pid)]
        for pid in (self._process.pid, *started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


def _variables(settings: Mapping[str, Any]) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        **{
            f"PENSTOCK_{name.upper()}": value
            if isinstance(value, str)
            else msgspec.json.encode(value).decode()
            for name, value in settings.items()
        },
    }


@on_own_site(**WITH_ALERTS)
def the_worker_that_decides_silence_is_killed(site: Site) -> None:
    """It dies when devices have reached the limit and nobody was told; the next one dies when it
    has recorded their silence and the bus has not taken it. Then the devices send again."""
    site.alarms.undeliverable_s = MOVED_S
    site.alarms.apply(RULES, ahead_ms=0)
    with site.load(60, devices=QUIET, rate=4):
        first = WorkerProcess(site)
        quiet = site.fleet(QUIET)
        _send(site, quiet, step=0)
        names = [one.device_id for one in quiet]
        site.until(partial(_is_known, site, names), 90, "the devices in the roster")
        limit = time.time() + SILENT_S
        site.until(lambda: time.time() > limit, SILENT_S + 5, "the limit")
        assert not _told(site, names, "raised")
        first.end()

        site.spoil(bus(Fault.ERROR))
        second = WorkerProcess(site)
        site.until(partial(_is_recorded, site, names), 150, "the record of their silence")
        second.end()
        site.heal()

        WorkerProcess(site)
        site.until(partial(_told, site, names, "raised"), 120, "the news of their silence")
        _send(site, quiet[: QUIET // 2], step=1)
        back = names[: QUIET // 2]
        site.until(partial(_told, site, back, "cleared"), 90, "the end of their silence")


def _send(site: Site, devices: Sequence[Identity], step: int) -> None:
    now = time.time_ns() // 1_000_000
    readings = [Reading(now, {"voltage": 230.0 + step, "power": 100.0})]
    sent = [(one, OK) for one in cut_messages(f"quiet{step:03d}", 0, readings)]
    site.publish(dict.fromkeys(devices, sent))


def _is_known(site: Site, names: Sequence[str]) -> bool:
    """Whether the roster says when each of the devices was heard."""
    table = site.settings.devices_table
    items = (
        site.dynamodb.get_item(TableName=table, Key={"device": {"S": name}}).get("Item", {})
        for name in names
    )
    return all("last_seen" in item for item in items)


def _is_recorded(site: Site, names: Sequence[str]) -> bool:
    """Whether the silence of each is an open alarm, and waits to be delivered."""
    table = site.settings.alerts_table
    for name in names:
        item = site.dynamodb.get_item(
            TableName=table, Key={"device": {"S": name}}, ConsistentRead=True
        ).get("Item")
        if item is None or not read_alarms(item).outbox:
            return False
    return True


def _told(site: Site, names: Sequence[str], kind: str) -> bool:
    """Whether the bus has carried such a transition of silence for each."""
    told = {
        one.event["device"]
        for one in site.alarms.heard()
        if one.event["rule"] == "gone" and one.event["kind"] == kind
    }
    return told.issuperset(names)
