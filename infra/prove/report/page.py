"""The report as one HTML file that needs nothing else: for a reader who was not there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from itertools import pairwise
from string import Template
from typing import Any, Final

from infra.prove.report.markup import bullets, cell, escaped, section, table
from infra.prove.report.signature import fingerprint_of
from infra.scenario.words import FAULTS
from simulator.plots import Plot, Series, figure

Report = Mapping[str, Any]
VERDICTS: Final = {True: "Exact: proven", False: "Not proven"}
LEADS: Final = {
    True: "Every reading that a device took is in its windows and in the archive, exactly once, "
    "through every fault of this run, and nothing of the run is left in the account.",
    False: "At least one promise did not hold in this run: which one, and what differs, is below.",
}
_MARKS: Final = {True: ("yes", "✓ holds"), False: ("no", "✗ broken"), None: ("none", "not run")}


def page_of(signed: Mapping[str, Any]) -> str:
    """The page of a signed report. All text is escaped here."""
    report: Report = signed["report"]
    exact = report["verdict"] == "exact"
    template = Template(resources.files("infra.prove.report").joinpath("page.html").read_text())
    sections = [
        _differences(report),
        section("What was proven", _invariants(report)),
        section("What was made to go wrong", _faults(report)),
        _plots(report),
        f'<div class="columns">{section("What it costs on AWS", _cost(report))}'
        f"{section('How it went', _steps(report))}</div>",
        f'<div class="columns">{_not_exercised(report)}'
        f"{section('Where, and with what', _facts(report))}</div>",
        section("Signature", _signature(signed)),
    ]
    return template.substitute(
        title=f"Penstock proof {escaped(report['run'])}: {escaped(report['verdict'])}",
        kind="exact" if exact else "",
        run=escaped(report["run"]),
        verdict=VERDICTS[exact],
        lead=escaped(LEADS[exact]),
        where=escaped(
            f"{report['where']['description']} · Region {report['where']['region']} · account "
            f"{report['where']['account']} · {report['times']['started'].replace('T', ' ')}"
        ),
        tiles=_tiles(report),
        body="\n".join(part for part in sections if part),
        footer="Made by <code>penstock prove</code>. docs/prove.md says what each line means.",
    )


def _dollars(amount: float) -> str:
    """Cents and less, as a person reads them."""
    return f"{amount:.2f}" if amount >= 0.1 else f"{amount:.4f}" if amount >= 0.0001 else "< 0.0001"


def _tiles(report: Report) -> str:
    rows = {row["id"]: row["figures"] for row in report["invariants"]}
    lost = rows["S"]["lost"] + rows["A"]["missing"] + rows["H"]["missing"]
    twice = rows["A"]["duplicated"] + rows["H"]["wrong"]
    live = report["latency"]["live_ms"]["p50"]
    faults = len(report["faults"]["pipeline"]) + sum(
        count for kind, count in report["faults"]["devices"].items() if kind != "spoof_refused"
    )
    tiles = [
        (f"{report['sent']['readings']:,}", "readings sent"),
        (f"{lost:,}", "lost"),
        (f"{twice:,}", "counted twice or wrong"),
        (f"{faults:,}", "faults on the way"),
        ("–" if live is None else f"{live / 1000:.1f} s", "device to table, median"),
        (_dollars(report["cost"]["usd"]), "USD on AWS, this run"),
    ]
    return '<div class="tiles">' + "".join(
        f'<div class="tile"><b>{escaped(value)}</b><span>{escaped(what)}</span></div>'
        for value, what in tiles
    ) + "</div>"  # fmt: skip


def _differences(report: Report) -> str:
    found = [*report["differences"], *report["account"]["left"]]
    return section("What differs", bullets(found)) if found else ""


def _not_exercised(report: Report) -> str:
    return section("What was not exercised", bullets(report["not_exercised"]))


def _invariants(report: Report) -> str:
    return table(
        ("", "invariant", "result"),
        (
            (
                cell(row["id"], kind="id"),
                cell(row["text"], row["detail"]),
                cell(_MARKS[row["held"]][1], kind=_MARKS[row["held"]][0]),
            )
            for row in report["invariants"]
        ),
    )


def _faults(report: Report) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for fault in report["faults"]["pipeline"]:
            how = f"✓ healed in {fault['healed_s']:.0f} s" if fault["healed"] else "✗ not healed"
            yield (
                cell(f"{fault['at_s']:.0f} s", kind="number"),
                cell(fault["what"], fault["detail"]),
                cell(how, kind="yes" if fault["healed"] else "no"),
            )
        for kind, count in sorted(report["faults"]["devices"].items()):
            yield (
                cell(f"{count:,} ×", kind="number"),
                cell(FAULTS.get(kind, kind)),
                cell("as expected" if report["verdict"] == "exact" else "see above", kind="none"),
            )

    return (
        "<p class=soft>Nobody intervened. What devices do wrong follows from the seed "
        f"{escaped(report['seed'])}, and each is judged reading by reading.</p>"
        + table(("when", "what", "how it went"), rows())
    )


def _plots(report: Report) -> str:
    samples = report["samples"]
    at = [sample["at"] for sample in samples]
    marks = [fault["at_s"] for fault in report["faults"]["pipeline"]]

    def rate(key: str) -> list[float | None]:
        found: list[float | None] = [None]
        for old, new in pairwise(samples):
            span = new["at"] - old["at"]
            found.append(max(0.0, (new[key] - old[key]) / span) if span > 0 else None)
        return found

    plots = [
        Plot("Readings", "a second", at,
             [Series("taken by devices", rate("taken")), Series("durable", rate("durable"))],
             "Dashed lines: the worker is killed, a shard is split. What waited follows at once.",
             marks),
        Plot("Lag of the slowest shard", "ms", at,
             [Series("lag", [sample["lag_ms"] for sample in samples])],
             "The age of the oldest record in the stream that is not durable yet.", marks),
    ]  # fmt: skip
    return f'<div class="columns">{"".join(map(figure, plots))}</div>'


def _cost(report: Report) -> str:
    cost = report["cost"]
    lines = sorted(cost["lines"].items(), key=lambda line: -line[1])
    top = max([amount for _, amount in lines] + [1e-12])
    rows = [
        (
            cell(name),
            f'<td class="bars"><span class="bar" style="width:{100 * amount / top:.0f}%"></span>'
            "</td>",
            cell(_dollars(amount), kind="number"),
        )
        for name, amount in lines
        if amount > 0
    ]
    rows.append(
        (cell("together", kind="id"), "<td></td>", cell(_dollars(cost["usd"]), kind="number"))
    )
    return (
        f"<p class=soft>{escaped(cost['basis'])}. USD; prices of {escaped(cost['prices'])}. The "
        f"estimate beforehand was at most {escaped(_dollars(cost['at_most_usd']))}.</p>"
        + table((), rows)
    )


def _steps(report: Report) -> str:
    times = report["times"]
    resumed = f", interrupted and resumed {times['resumed']} times" if times["resumed"] else ""
    rows = (
        (cell(step["label"]), cell(f"{step['seconds']:.1f} s", kind="number"))
        for step in times["steps"]
    )
    return (
        f"<p class=soft>{escaped(times['started'])} to {escaped(times['ended'])}: "
        f"{times['seconds'] / 60:.1f} minutes{resumed}.</p>" + table((), rows)
    )


def _facts(report: Report) -> str:
    latency, live = report["latency"]["all_ms"], report["latency"]["live_ms"]
    worker = report["worker"]
    restarts = ", ".join(f"{count} {cause}" for cause, count in worker["restarts"].items())
    facts = [
        ("load", f"{report['sent']['messages']:,} messages from {report['sent']['devices']} "
                 "devices over MQTT with mTLS"),
        ("latency with every fault", "not measured" if latency["p50"] is None else
         f"p50 {latency['p50']:,.0f} ms, p95 {latency['p95']:,.0f} ms, "
         f"p99 {latency['p99']:,.0f} ms; wrong clocks and power cuts are in it"),
        ("latency without these", "not measured" if live["p50"] is None else
         f"p50 {live['p50']:,.0f} ms, p95 {live['p95']:,.0f} ms, p99 {live['p99']:,.0f} ms; the "
         "killed worker is in it"),
        ("longest stall of a shard", f"{report['latency']['longest_stall_s']:.1f} s"),
        ("restarts of the worker", restarts or "none"),
        ("searched for remains", f"{len(report['account']['kinds'])} kinds of resources"),
        ("tiers", ", ".join(tier["name"] for tier in report["settings"]["tiers"])),
        ("versions", ", ".join(f"{name} {text}" for name, text in report["versions"].items())),
    ]  # fmt: skip
    return table((), ((cell(name, kind="none"), cell(text)) for name, text in facts))


def _signature(signed: Mapping[str, Any]) -> str:
    signature = signed["signature"]
    return (
        "<p>The JSON file beside this page is signed: "
        f"<code>penstock prove --check {escaped(signed['report']['run'])}.json</code> tells "
        "whether it is as it was signed. This page shows that file and is not signed itself.</p>"
        f"<p class=soft>{escaped(signature['algorithm'])}, fingerprint of the key "
        f"<code>{escaped(fingerprint_of(signed))}</code><br>signature "
        f"<code>{escaped(signature['signature'])}</code></p>"
    )
