"""A run's report, for a person and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from simulator.verification.lake import LakeReport
from simulator.verification.verifier import Report

if TYPE_CHECKING:  # a demo needs the extra "local"; a report of a ledger does not
    from infra.simulation.demo import DemoRun


def demo_document(run: DemoRun) -> dict[str, Any]:
    """What ``penstock demo --json`` prints."""
    return {
        **run.report.as_dict(),
        "verdict": "exact" if run.exact else "inexact",
        "differences": run.report.differences + run.lake.differences,
        "lake": run.lake.as_dict(),
        "latency_ms": run.snapshot["latency_ms"],
        "live_latency_ms": run.snapshot["live_latency_ms"],
        "longest_stall_s": run.snapshot["longest_stall_ms"] / 1000,
        "startup_s": run.stages,
        "time_to_first_window_s": run.first_window_s,
        "restarts": run.snapshot["restarts"],
        "conflicts": run.snapshot["conflicts"],
        "seed": run.seed,
        "faults": run.faults,
        "aws": run.cost.document(),
    }


def demo_lines(run: DemoRun) -> list[str]:
    """What ``penstock demo`` prints."""
    latency = run.snapshot["latency_ms"]
    lines = [*report_lines(run.report), *lake_lines(run.lake)]
    if latency["p50"] is not None:
        lines.append(
            f"latency   device to hot store: p50 {latency['p50']:.0f} ms, "
            f"p95 {latency['p95']:.0f} ms, p99 {latency['p99']:.0f} ms; "
            f"longest stall of a shard {run.snapshot['longest_stall_ms'] / 1000:.1f} s"
        )
    if run.first_window_s is not None:
        lines.append(
            f"start     first window in DynamoDB {run.first_window_s:.1f} s after the command"
        )
    if run.snapshot["restarts"]:
        lines.append(f"restarts  {run.snapshot['restarts']} of the KCL daemon")
    lines += run.cost.lines()
    return [*lines, "", verdict_line(run)]


def lake_lines(lake: LakeReport) -> list[str]:
    """The lake's tables in one line, and what differs."""
    return [
        f"lake      {lake.registered} segments registered, {lake.readings} readings, each once: "
        f"{lake.missing} missing, {lake.duplicated} duplicated, {lake.extra} extra"
        + (f", {lake.altered} altered" if lake.altered else ""),
        *(f"  ! {difference}" for difference in lake.differences),
    ]


def report_lines(report: Report) -> list[str]:
    """The comparison in a few lines, and what differs."""
    sent, windows, archive = report.sent, report.windows, report.archive
    lines = [
        f"sent      {sent['messages']} messages with {sent['readings']} readings "
        f"from {report.devices} devices, {sent['acknowledged']} acknowledged"
        + (f", {sent['unacknowledged']} not" if sent["unacknowledged"] else ""),
        f"windows   {windows['checked']} checked: {windows['missing']} missing, "
        f"{windows['extra']} extra, {windows['wrong']} wrong"
        + (f", {windows['expired']} expired" if windows["expired"] else ""),
        f"devices   {report.latest['checked']} latest states checked: "
        f"{report.latest['wrong']} wrong",
        f"archive   {archive['records']} records with {archive['readings']} readings in "
        f"{archive['objects']} objects: {archive['missing']} missing, "
        f"{archive['duplicated']} duplicated, {archive['wrong']} wrong, {archive['extra']} extra",
    ]
    if sent["conflicting"]:
        lines.append(
            f"warning   {sent['conflicting']} identities were sent with more than one content: "
            "a device repeats a reading unchanged, or gives it a number of its own"
        )
    if archive["rejected"]:
        lines.append(f"rejected  {archive['rejected']} records archived with their bytes")
    return lines + [f"  ! {difference}" for difference in report.differences]


class HasVerdict(Protocol):
    """A comparison, of a demo or of a scenario."""

    @property
    def exact(self) -> bool:
        """Whether it is exact."""


def verdict_line(report: HasVerdict) -> str:
    """The last line."""
    if report.exact:
        return "exact: what was sent is what was aggregated and what was archived"
    return "inexact: see the differences above"
