"""``penstock verify``: compare a ledger with the hot tables and the archive."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, print_json
from infra.cost.run import RunCost
from infra.simulation.report import report_lines, verdict_line
from infra.simulation.verify import verify_ledger
from infra.target import find_target
from simulator.verification.verifier import Report


@click.command()
@click.argument("ledger", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@aws_option
def verify(ledger: Path, as_json: bool, aws: bool) -> int:
    """Compare LEDGER, which a simulation wrote, with the hot tables and the archive.

    Exit code 0 only when every reading that was acknowledged is in its windows and in the
    archive exactly once, and nothing else is there of these devices.
    """
    return print_report(verify_ledger(find_target(aws=aws), ledger, exclusive=False), as_json)


def print_report(report: Report, as_json: bool, cost: RunCost | None = None) -> int:
    """Print a comparison, and what the run cost where that is known; the exit code, 0 only when
    it is exact."""
    if as_json:
        print_json({**report.as_dict(), **({"aws": cost.document()} if cost else {})})
    else:
        lines = [*report_lines(report), *(cost.lines() if cost else []), "", verdict_line(report)]
        STDOUT.print("\n".join(lines), markup=False)
    return 0 if report.exact else 1
