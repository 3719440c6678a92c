"""The report of a scenario: lines for a terminal, and a page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from infra.scenario.play import Played
from infra.scenario.words import LEADS, marks, sections
from infra.simulation.report import lake_lines
from simulator.report_page import Plot, Series, page
from simulator.scenario import Scenario


def lines(played: Played) -> list[str]:
    """The lines that are printed beside the comparison."""
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
    if played.audit is not None:
        audit = played.audit
        found.append(
            f"audit     {audit['windows']} windows against the archive: {audit['verdict']}"
            + (f", {len(audit['differences'])} differ" if audit["differences"] else "")
        )
    if played.rejects is not None:
        rejects = played.rejects
        found.append(
            f"rejects   {rejects['redriven']} readings that were too early are redriven: "
            f"{rejects['verdict']}"
        )
    if played.lake is not None:
        found += lake_lines(played.lake)
    if played.alarms is not None:
        alarms = played.alarms
        found.append(
            f"alarms    {alarms['expected']} transitions had to be: {alarms['missing']} missing, "
            f"{alarms['extra']} extra, {alarms['twice']} twice, {alarms['late']} late "
            f"({alarms['withdrawn']} withdrawn by late readings)"
        )
        found += [f"  ! {difference}" for difference in alarms["differences"]]
    if played.commands is not None:
        commands = played.commands
        found.append(
            f"commands  {commands['sent']} sent, {commands['repeated']} again: "
            f"{commands['succeeded']} succeeded, {commands['timed_out']} expired, "
            f"{commands['failed']} interrupted, {commands['twice']} done twice, "
            f"{commands['late']} after their deadline"
        )
        found += [f"  ! {difference}" for difference in commands["differences"]]
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
    scenario = msgspec.convert(document["played"], Scenario)
    exact = document["verdict"] == "exact"
    return page(
        title=f"Penstock: the scenario “{document['scenario']}”",
        verdict="Exact." if exact else "Inexact.",
        lead=LEADS[exact],
        sections=sections(document, scenario),
        plots=_plots(document["samples"], marks(scenario, document["seed"])),
        facts=_figures(document),
        notes=[
            *document["differences"],
            *document.get("alarms", {}).get("differences", ()),
            *document.get("commands", {}).get("differences", ()),
            *document["notices"],
        ],
    )


def _plots(samples: Sequence[Mapping[str, Any]], marked: Sequence[float]) -> list[Plot]:
    at = [s["at"] for s in samples]

    def rate(key: str) -> list[float | None]:
        found: list[float | None] = [None]
        for old, new in pairwise(samples):
            span = new["at"] - old["at"]
            found.append(max(0.0, (new[key] - old[key]) / span) if span > 0 else None)
        return found

    def level(key: str) -> list[float | None]:
        return [s.get(key) for s in samples]

    def plot(title: str, unit: str, note: str, *series: Series) -> Plot:
        return Plot(title, unit, at, series, note, marked)

    local = "p99" in samples[-1]
    durable = [Series("durable", rate("durable"))] if local else []
    plots = [
        plot("Readings", "a second",
             "Taken by sensors, and durable in DynamoDB. After an outage what waited follows at "
             "once. Dashed lines: a power cut, or all connections of a fleet break.",
             Series("taken", rate("taken")), *durable),
        plot("Readings that wait in spools", "readings",
             "On the devices' disks, not yet acknowledged by the broker. It must end at 0.",
             Series("waiting", level("waiting"))),
        plot("Devices connected", "devices", "", Series("connected", level("connected"))),
        plot("Messages acknowledged", "a second", "", Series("acknowledged", rate("acked"))),
        plot("Publish to acknowledgement", "ms",
             "From the hand-over of a message to the broker's acknowledgement.",
             Series("p50", level("ack_p50")), Series("p99", level("ack_p99"))),
    ]  # fmt: skip
    if local:
        plots += [
            plot("Device's clock to DynamoDB", "ms",
                 "Wrong clocks and readings that waited in spools are in it: these make the peaks.",
                 Series("p50", level("p50")), Series("p99", level("p99"))),
            plot("Lag of the slowest shard", "ms",
                 "The age of the oldest record in the stream that is not durable yet.",
                 Series("lag", level("lag_ms"))),
        ]  # fmt: skip
    return plots


def _figures(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    sent = document["sent"]
    started = document["startup_s"].get("scenario")
    repeat = f"penstock demo --scenario {document['scenario'].replace(' ', '-')}"
    found = [
        ("made on", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
        ("seed", f"{document['seed']}: `{repeat} --seed {document['seed']}` repeats the run"),
        ("readings acknowledged by the broker",
         f"{sent['acknowledged']:,}; {sent['unacknowledged']:,} were not"),
        ("messages that arrived more than once", f"{sent['repeated']:,}; each counts once"),
    ]  # fmt: skip
    if started is not None:
        found.append(("played, drained and compared in", f"{started:.0f} s"))
    found += [("worker", line.partition(" ")[2].strip()) for line in worker_lines(document)]
    if document["restarts"] is not None:
        found.append(("restarts of the KCL daemon", str(document["restarts"])))
    for name, facts in document["fleets"].items():
        found.append(
            (
                f"a device of {name} costs the simulator",
                f"{facts['rss_kb_per_device']:,.0f} KB and {facts['cpu_ms_per_device']:,.0f} ms of "
                f"CPU, the interpreter included ({facts['incarnations']} processes one after the "
                "other)",
            )
        )
    return found
