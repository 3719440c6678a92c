"""What is said of a scenario when it is over: lines for a terminal, and a page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from infra.simulation.scenario import Played
from simulator.report_page import Plot, Series, page


def lines(played: Played) -> list[str]:
    """What is printed of it, beside the comparison."""
    spool = played.spool
    found = [
        f"spools    {spool['numbered']} readings taken by devices: {spool['lost']} lost, "
        f"{spool['waiting']} waiting, {spool['dropped']} dropped, {spool['refused']} refused",
        "faults    " + (", ".join(f"{n} {kind}" for kind, n in played.faults.items()) or "none"),
    ]
    for name, facts in played.fleets.items():
        p99 = facts["ack_ms"]["p99"]
        found.append(
            f"fleet     {name}: {facts['devices']} devices, {facts['rss_kb_per_device']:.0f} KB "
            f"and {facts['cpu_ms_per_device']:.0f} ms of CPU a device"
            + (f", acknowledged within {p99:.0f} ms (p99)" if p99 else "")
        )
    found += [f"notice    {notice}" for notice in played.notices]
    return found + (played.cost.lines() if played.cost else [])


def worker_lines(document: Mapping[str, Any]) -> list[str]:
    """What the worker adds, from what ``--json`` prints; nothing when it was not a local one."""
    everything, live = document["latency_ms"]["p99"], document["live_latency_ms"]["p99"]
    if everything is None:
        return []
    without = "" if live is None else f", {live:.0f} ms without wrong clocks and kept readings"
    return [
        f"latency   device to hot store: p99 {everything:.0f} ms{without}; "
        f"longest stall of a shard {document['longest_stall_s']:.1f} s"
    ]


def report_page(document: Mapping[str, Any]) -> str:
    """The report as a page, from what ``--json`` prints."""
    samples = document["samples"]
    at = [s["at"] for s in samples]

    def rate(key: str) -> list[float | None]:
        found: list[float | None] = [None]
        for old, new in pairwise(samples):
            span = new["at"] - old["at"]
            found.append(max(0.0, (new[key] - old[key]) / span) if span > 0 else None)
        return found

    def level(key: str) -> list[float | None]:
        return [s.get(key) for s in samples]

    plots = [
        Plot("Readings taken and durable", "a second", at,
             [Series("taken", rate("taken")),
              *([Series("durable", rate("durable"))] if "durable" in samples[-1] else [])]),
        Plot("Messages acknowledged", "a second", at, [Series("acknowledged", rate("acked"))]),
        Plot("Publish to acknowledgement", "ms", at,
             [Series("p50", level("ack_p50")), Series("p99", level("ack_p99"))]),
        Plot("Devices connected", "devices", at, [Series("connected", level("connected"))]),
        Plot("Readings that wait in spools", "readings", at, [Series("waiting", level("waiting"))]),
    ]  # fmt: skip
    if "p99" in samples[-1]:
        plots += [
            Plot("Device's clock to hot store, wrong clocks included", "ms", at,
                 [Series("p50", level("p50")), Series("p99", level("p99"))]),
            Plot("Lag of the slowest shard", "ms", at, [Series("lag", level("lag_ms"))]),
        ]  # fmt: skip
    facts = [
        ("seed", str(document["seed"])),
        ("devices", str(document["devices"])),
        ("when", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
        *(("worker", line.partition(" ")[2].strip()) for line in worker_lines(document)),
        *((f"sent: {k}", str(v)) for k, v in document["sent"].items()),
        *((f"windows: {k}", str(v)) for k, v in document["windows"].items()),
        *((f"archive: {k}", str(v)) for k, v in document["archive"].items()),
        *((f"spools: {k}", str(v)) for k, v in document["spool"].items()),
        *((f"fault: {k}", str(v)) for k, v in document["faults"].items()),
    ]
    fleets = [
        (name, ", ".join(f"{k} {v}" for k, v in facts.items()))
        for name, facts in document["fleets"].items()
    ]
    return page(
        title=f"Penstock: {document['scenario']}",
        verdict=str(document["verdict"]),
        plots=plots,
        facts=[*facts, *fleets],
        notes=[*document["differences"], *document["notices"]],
    )
