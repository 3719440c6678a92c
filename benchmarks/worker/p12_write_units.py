"""P12: write units of DynamoDB a message, at the defaults of AWS.

10,000 devices with a message of one reading every 10 s, 1 s and 60 s, over an hour of virtual time:
the real processor and hot store, with stores that count. An item of three metrics is one write unit
(``infra.cost.item_sizes``). Once nobody watches; once somebody has a page of 50 devices open. The
baseline is freshness ``live``, the only one of version 0.2.
"""

from __future__ import annotations

from typing import Final

from benchmarks.measure import Progress, Result, Samples, check, result
from benchmarks.workloads.virtual_shard import DEVICES, measure
from infra.cost.measured import HotPolicy
from ingest.freshness import Freshness, flush_policy

TARGETS: Final = {10.0: 0.40, 1.0: 0.05, 60.0: 1.3}
PAGE: Final = 50


def run(progress: Progress) -> Result:
    """Measure each interval with ``live``, with ``standard``, and with a page that is watched."""
    checks = []
    for every_s, target in TARGETS.items():
        progress(f"a message every {every_s:g} s …")
        live = Samples([units("live", every_s, page=0)])
        for what, page in (("nobody watches", 0), (f"{PAGE} devices are watched", PAGE)):
            ours = Samples([units("standard", every_s, page=page)])
            name = f"write units a message, every {every_s:g} s, {what}"
            line = check(name, ours, live, unit="")
            line |= {"target": f"<= {target:g}", "met": ours.median <= target}
            checks.append(line)
    return result("write units a message", checks)


def units(freshness: Freshness, every_s: float, *, page: int) -> float:
    """Write units a message of a fleet of 10,000 devices of which a page is watched."""
    policy = HotPolicy(*flush_policy(freshness))
    alone = measure(policy, every_s)
    if not page:
        return alone.total
    # A page is too few devices for a scaled fleet: measure a tenth of it, and scale what it adds.
    share = 0.1
    added = (measure(policy, every_s, watched=share).total - alone.total) / share
    return alone.total + added * page / DEVICES
