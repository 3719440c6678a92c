"""What became of commands to devices, against what the devices did. Values in, counts out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from simulator.verification.ledger import Commanded, Effect

LATE_MS: Final = 1000
"""AWS IoT's clock, by which a device judges a deadline, is another than this machine's, and is told
when a message leaves: so much later is no fault."""

SHOWN: Final = 20


@dataclass
class CommandReport:
    """How commands compare with their effects. ``repeated`` is how often one was sent again;
    ``unanswered`` are those of which the device has not said the end. Faults: a command that had
    its effect ``twice``; one that is said to have succeeded and had none (``missing``); one that is
    said to have expired or to be rejected and had one (``extra``); an effect after the deadline
    (``late``), or on another device (``astray``)."""

    sent: int = 0
    repeated: int = 0
    succeeded: int = 0
    failed: int = 0
    rejected: int = 0
    timed_out: int = 0
    unanswered: int = 0
    effects: int = 0
    twice: int = 0
    missing: int = 0
    extra: int = 0
    late: int = 0
    astray: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether each command had the effect that is said of it, once and in time."""
        return not (self.twice or self.missing or self.extra or self.late or self.astray)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"verdict": "exact" if self.exact else "inexact", **vars(self)}


def compare(commands: Iterable[Commanded], effects: Iterable[Effect]) -> CommandReport:
    """Compare what is said of commands with what devices did."""
    report = CommandReport()
    done: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        report.effects += 1
        done[effect.command].append(effect)
    for command in commands:
        _count(report, command)
        _check(report, command, done.pop(command.id, []))
    for id_, rest in done.items():
        report.extra += len(rest)
        _differ(report, f"{rest[0].device} did {id_}, which was not sent")
    return report


def _count(report: CommandReport, command: Commanded) -> None:
    report.sent += 1
    report.repeated += command.times - 1
    if not command.final:
        report.unanswered += 1
        return
    match command.status:
        case "SUCCEEDED":
            report.succeeded += 1
        case "FAILED":
            report.failed += 1
        case "REJECTED":
            report.rejected += 1
        case "TIMED_OUT":
            report.timed_out += 1


def _check(report: CommandReport, command: Commanded, effects: list[Effect]) -> None:
    said = f"command {command.id} to {command.device} ({command.status or 'gone'})"
    if len(effects) > 1:
        report.twice += 1
        _differ(report, f"{said} had {len(effects)} effects")
    if command.final and command.status == "SUCCEEDED" and not effects:
        report.missing += 1
        _differ(report, f"{said} had no effect")
    if command.final and command.status in ("TIMED_OUT", "REJECTED") and effects:
        report.extra += 1
        _differ(report, f"{said} had an effect")
    for effect in effects:
        if effect.at > command.until + LATE_MS:
            report.late += 1
            _differ(report, f"{said} was done {effect.at - command.until} ms after its deadline")
        if effect.device != command.device:
            report.astray += 1
            _differ(report, f"{said} was done by {effect.device}")


def _differ(report: CommandReport, sentence: str) -> None:
    if len(report.differences) < SHOWN:
        report.differences.append(sentence)
