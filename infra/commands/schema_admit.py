"""``penstock schema admit``: fold what was quarantined and what the schemas of today take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import rich_click as click

from infra.archive.admitting import admit, plan_admission
from infra.commands.options import Time, aws_option, json_option
from infra.commands.rejects_found import wanted_of
from infra.commands.write_target import find_write_target, is_local
from infra.console import STDOUT, UserError, print_json
from lake.rejects.admission import Admission


@click.command("admit")
@click.option("--from", "start", type=Time(), metavar="TIME",
              help="Arrived from here on (ISO 8601, UTC).  [default: a day ago]")  # fmt: skip
@click.option("--to", "end", type=Time(), metavar="TIME",
              help="Arrived before this.  [default: now]")  # fmt: skip
@click.option("--device", "devices", multiple=True, metavar="NAME",
              help="Of this device only; repeatable.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would be admitted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@aws_option
def admit_(
    start: int | None,
    end: int | None,
    devices: Sequence[str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    aws: bool,
) -> None:
    """Fold readings that were quarantined and that the schemas of today take.

    Each is put into the stream again as it was, under its own identity: admitted twice, or sent
    again by its device, it counts once. Waits until the archive has what was put.
    """
    target = find_write_target("admit quarantined readings", aws=aws)
    plan = plan_admission(target, wanted_of(start, end, ["quarantined"], devices))
    if plan.send and not dry_run and not yes and not is_local(target):
        if not sys.stdin.isatty():
            raise UserError(f"this puts {len(plan.send)} readings into the stream: add --yes")
        if not click.confirm(f"Put {len(plan.send)} readings into the stream?", err=True):
            raise UserError("nothing was put")
    folded = admit(target, plan) if plan.send and not dry_run else 0
    if as_json:
        print_json(document(plan, folded, dry_run=dry_run))
    else:
        STDOUT.print("\n".join(lines(plan, dry_run=dry_run)), markup=False)
    if not dry_run and folded < len(plan.send):
        raise UserError(
            f"{len(plan.send) - folded} readings are in the stream and not folded yet: is a worker "
            "running, or were schemas applied meanwhile? Run the same again: nothing counts twice"
        )


def document(plan: Admission, folded: int, *, dry_run: bool) -> dict[str, Any]:
    """The result for a program."""
    return {
        "admitted": folded,
        "would_admit": len(plan.send) if dry_run else 0,
        "accepted_before": plan.accepted,
        "repeated": plan.repeated,
        "outside_still": plan.outside,
    }


def lines(plan: Admission, *, dry_run: bool) -> list[str]:
    """The result for a person."""
    found = [f"{len(plan.send)} readings {'would be ' if dry_run else ''}admitted"]
    for count, words in (
        (plan.repeated, "rows are the same readings again"),
        (plan.accepted, "readings are folded already"),
        (plan.outside, "readings are outside of the schemas of today too"),
    ):
        if count:
            found.append(f"{count} {words}")
    return found
