"""A scenario's report in words, for a reader who was not there. Values in, sections out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from simulator.report_page import Section, Table
from simulator.scenario import Fleet, Scenario, plan

Document = Mapping[str, Any]

LEADS: Final = {
    True: "Every reading that a device took is in its windows and in the archive, exactly once, "
    "and nothing else is there.",
    False: "What was sent, what was aggregated and what was archived are not the same: the "
    "differences are below.",
}
FAULTS: Final = {
    "clock_jump": "times a device's clock was wrong for a while",
    "disorder": "messages were held back, so that later ones overtook them",
    "duplicates": "messages were published twice",
    "malformed": "times bytes were sent that no worker can read",
    "drift": "times a sensor drifted away from the right value",
    "offline": "times a device lost its network for a while",
    "power_cut": "times a fleet's process was killed without warning, and went on with its spools",
    "silent": "times a device took no readings for a while",
    "spoof": "attempts to publish as another device",
    "spoof_refused": "of these attempts were refused by the broker",
    "storm": "times a device lost its connection because the whole fleet did",
    "stuck": "times a sensor repeated one value",
}
"""What was made to go wrong, by its name in the ledger; each follows a number."""

_HAPPENED: Final = {"power_cut": "power cut", "storm": "all connections break"}


def sections(document: Document, scenario: Scenario) -> list[Section]:
    """The parts of the page that are text and tables."""
    return [
        _what_happened(document, scenario),
        Section(
            "What was made to go wrong",
            text="All of it follows from the seed, so the same seed repeats it.",
            items=[f"{count:,} {FAULTS.get(kind, kind)}" for kind, count in
                   sorted(document["faults"].items())] or ["nothing"],
        ),
        _what_was_checked(document),
        _fleets(document, scenario),
    ]  # fmt: skip


def marks(scenario: Scenario, seed: int) -> list[float]:
    """When something happened to a whole fleet: power cuts and storms (s from the start)."""
    return sorted(event.at for fleet in scenario.fleets for event in plan(fleet, seed)
                  if event.kind in _HAPPENED)  # fmt: skip


def _what_happened(document: Document, scenario: Scenario) -> Section:
    sent = document["sent"]
    events = sorted(
        (event.at, fleet.name, _HAPPENED[event.kind])
        for fleet in scenario.fleets
        for event in plan(fleet, document["seed"])
        if event.kind in _HAPPENED
    )
    return Section(
        "What happened",
        text=f"{scenario.about} {scenario.devices:,} virtual devices in {len(scenario.fleets)} "
        f"fleets ran for {_duration(scenario.seconds)} and published {sent['messages']:,} messages "
        f"with {sent['readings']:,} readings. Each device has the client and the spool that a real "
        "one has: a reading waits on disk until it is acknowledged.".strip(),
        items=[f"{at:.0f} s: {name}, {what}" for at, name, what in events],
    )


def _what_was_checked(document: Document) -> Section:
    spool, windows, archive = document["spool"], document["windows"], document["archive"]
    latest, lake = document["latest"], document.get("lake")
    rows = [
        ("Readings that devices took",
         f"{spool['numbered']:,} taken",
         _faults(spool, "lost", "waiting")
         + _also(spool, dropped="dropped by a full spool", refused="refused by a full spool")),
        ("Windows in DynamoDB, against an independent computation of each",
         f"{windows['checked']:,} compared" + _also(windows, expired="expired meanwhile"),
         _faults(windows, "missing", "extra", "wrong")),
        ("Latest state of each device",
         f"{latest['checked']:,} compared", _faults(latest, "wrong")),
        ("Archive in S3, reading by reading",
         f"{archive['readings']:,} readings in {archive['records']:,} records and "
         f"{archive['objects']:,} objects"
         + _also(archive, rejected="records kept with their bytes because nobody can read them"),
         _faults(archive, "missing", "duplicated", "wrong", "extra")),
    ]  # fmt: skip
    if lake is not None:
        rows.append(
            ("The lake's tables, each of their snapshots",
             f"{lake['readings']:,} readings, {lake['registered']:,} segments registered",
             _faults(lake, "missing", "duplicated", "extra", "altered"))
        )  # fmt: skip
    if alarms := document.get("alarms"):
        rows.append(
            ("Transitions of alarms on the event bus, against those that follow from what was sent",
             f"{alarms['expected']:,} had to be"
             + _also(alarms, withdrawn="withdrawn by late readings",
                     repeated="events that came again under the same id")
             + f", each within {alarms['slowest_s']:.0f} s",
             _faults(alarms, "missing", "extra", "twice", "late"))
        )  # fmt: skip
    if commands := document.get("commands"):
        rows.append(
            ("Commands to devices, against what the devices did",
             f"{commands['sent']:,} sent, {commands['succeeded']:,} succeeded"
             + _also(commands, timed_out="expired", failed="interrupted",
                     unanswered="without an answer at the end", repeated="repeats"),
             _faults(commands, "twice", "missing", "extra", "late", "astray"))
        )  # fmt: skip
    return Section(
        "What was checked",
        text="The simulator wrote each message into a ledger before it was published. Afterwards "
        "everything in the deployment was compared with that ledger.",
        table=Table(("what", "how much", "result"), rows),
    )


def _fleets(document: Document, scenario: Scenario) -> Section:
    rows = []
    for fleet in scenario.fleets:
        facts = document["fleets"].get(fleet.name, {})
        p99 = facts.get("ack_ms", {}).get("p99")
        rows.append(
            (
                fleet.name,
                f"{fleet.devices:,} × {'replay' if fleet.replay else fleet.type}",
                "; ".join(_phases(fleet)),
                f"{facts.get('connections', 0):,}",
                f"{facts.get('acknowledged_messages', 0):,}",
                "" if p99 is None else f"{p99:,.0f} ms",
            )
        )
    return Section(
        "The fleets",
        table=Table(
            ("fleet", "devices", "phases", "connections", "messages acknowledged",
             "acknowledged within (p99)"),
            rows,
        ),
    )  # fmt: skip


def _phases(fleet: Fleet) -> Iterator[str]:
    for phase in fleet.phases:
        name = f"{phase.name}: " if phase.name else ""
        rate = f"{phase.rate:g} messages/s a device"
        how = {"ramp": f"rising to {rate}", "spike": f"up to {rate} and back"}.get(phase.kind, rate)
        yield f"{name}{_duration(phase.seconds)} {how}"


def _faults(counts: Mapping[str, int], *names: str) -> str:
    found = [f"{counts[name]:,} {name}" for name in names if counts[name]]
    return "✗ " + ", ".join(found) if found else "✓ none " + " or ".join(names)


def _also(counts: Mapping[str, int], **words: str) -> str:
    return "".join(f", {counts[name]:,} {text}" for name, text in words.items() if counts.get(name))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
