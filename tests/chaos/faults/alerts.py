"""Alarms under faults: invariant T.

The rules are met and not met by turns, on windows of two seconds: a fault falls among many
transitions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from devices.batch import Outgoing
from ingest.message import Reading
from ingest.tiers import Tier
from simulator.load.senders import messages as cut_messages
from simulator.verification.ledger import OK
from tests.chaos.faults import on_own_site
from tests.chaos.site import Site

WINDOW: Final = Tier("2s", flush_s=0.3, ttl_s=6 * 3600)
WITH_ALERTS: Final[dict[str, Any]] = {
    "alerts": True,
    "tiers": (WINDOW, Tier("1m", flush_s=2.0, ttl_s=7 * 86400)),
}
LONG_AGO_MS: Final = -3_600_000

RULES: Final = """
[[rule]]
name = "rising"
tier = "2s"
when = "change(voltage) > 0.0137"
severity = "info"

[[rule]]
name = "falling"
tier = "2s"
when = "change(voltage) < -0.0137"
for = "2 of 3"
clear_for = 2

[[rule]]
name = "high"
tier = "2s"
when = "max(power) > 1000"
clear = "max(power) < 1000"
severity = "critical"
"""
"""``high`` is decided before its window is finished."""


@on_own_site(**WITH_ALERTS)
def the_clocks_of_devices_jump(site: Site) -> None:
    """Clocks go a minute ahead and a quarter of an hour back, among readings that come late and out
    of order; a child dies while windows are decided again."""
    site.alarms.apply(RULES, ahead_ms=LONG_AGO_MS)
    worker = site.start_worker()
    site.until(lambda: len(worker.children()) >= 2, 90, "a child for each shard")
    jumps = [0, 0, 60_000, 0, -900_000, -10_000, 0, 30_000, -4_000, 0]
    for step, jump in enumerate(jumps):
        now = time.time_ns() // 1_000_000
        if step == len(jumps) // 2:
            site.arm("windows_durable", "crash")
        site.put([one for device in range(8) for one in _wave(device, step, now + jump)])
        if step == len(jumps) // 2:
            site.until(lambda: site.struck("windows_durable"), 30, "the failpoint")
            site.until(lambda: worker.worker.status.restarts, 60, "a restart of the daemon")
        else:
            site.drain()
    site.until(lambda: len(site.alarms.heard()) > 5, 30, "alarms")


def _wave(device: int, step: int, start: int) -> Iterator[tuple[str, Outgoing, str]]:
    """Readings of one device over ten seconds of its clock, the later half first."""
    name, boot, seq = f"jumping-{device}", f"jump{step:04d}x", 0
    readings = [
        Reading(start + 250 * n, {
            "voltage": 230.0 + ((n // 8 + device) % 3) * 0.7,
            "power": 950.0 + 100.0 * ((n // 16 + step) % 2),
        })
        for n in range(40)
    ]  # fmt: skip
    for part in (readings[20:], readings[:20]):
        for message in cut_messages(boot, seq, part):
            yield name, message, OK
        seq += len(part)
