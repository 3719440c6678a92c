"""``penstock rejects redrive``: put rejects into the stream again, corrected."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import rich_click as click

from infra.archive.redriving_rejects import plan_redrive, redrive
from infra.commands.options import aws_option, json_option
from infra.commands.rejects_found import reject_options, wanted_of
from infra.commands.write_target import find_write_target, is_local
from infra.console import STDOUT, UserError, print_json
from lake.rejects.fix import Fix, Scale
from lake.rejects.redrive import Plan


class Renaming(click.ParamType[tuple[str, str]]):
    """``OLD=NEW``."""

    name = "old=new"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """:raises click.BadParameter: when it is none."""
        if isinstance(value, tuple):
            return value
        old, _, new = str(value).rpartition("=")
        if not old or not new:
            self.fail(f"{value!r}: write it as OLD=NEW, as Temp=temperature", param, ctx)
        return old, new


class Rescaling(click.ParamType[tuple[str, Scale]]):
    """``NAME=FACTOR`` or ``NAME=FACTOR,OFFSET``."""

    name = "name=factor"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Scale]:
        """:raises click.BadParameter: when it is none."""
        if isinstance(value, tuple):
            return value
        name, _, numbers = str(value).partition("=")
        try:
            scale = Scale(*map(float, numbers.split(",")))
        except (TypeError, ValueError):
            self.fail(f"{value!r}: write it as NAME=FACTOR or NAME=FACTOR,OFFSET", param, ctx)
        return name, scale


@click.command("redrive")
@reject_options
@click.option(
    "--rename",
    type=Renaming(),
    multiple=True,
    metavar="OLD=NEW",
    help="A key of the message, as a metric's name, gets another name; repeatable.",
)
@click.option(
    "--scale",
    type=Rescaling(),
    multiple=True,
    metavar="NAME=FACTOR[,OFFSET]",
    help="A metric's value in another unit, by its new name; repeatable.",
)
@click.option(
    "--clock", type=float, default=0.0, metavar="S", help="Seconds that are added to event times."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be redriven.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@aws_option
def redrive_rejects(
    start: int | None,
    end: int | None,
    reasons: Sequence[str],
    devices: Sequence[str],
    rename: Sequence[tuple[str, str]],
    scale: Sequence[tuple[str, Scale]],
    clock: float,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    aws: bool,
) -> None:
    """Put rejects into the stream again, corrected, so that workers fold and archive them.

    A redriven reading gets an identity that follows from its old one: redriven twice, it counts
    once, and one that was folded when it came another time is left out. What the fix does not
    correct is not put. Waits until the archive has everything that was put.
    """  # fmt: skip
    target = find_write_target("redrive rejects into the stream", aws=aws)
    wanted = wanted_of(start, end, reasons, devices)
    fix = Fix(dict(rename), dict(scale), round(clock * 1000))
    chosen = plan_redrive(target, wanted, fix)
    if not dry_run and chosen.send and not yes and not is_local(target):
        _ask(chosen)
    states: dict[str, int] = {}
    if not dry_run and chosen.send:
        states = redrive(target, chosen, wanted.start)
    if as_json:
        print_json(document(chosen, states, dry_run=dry_run))
    else:
        STDOUT.print("\n".join(lines(chosen, states, dry_run=dry_run)), markup=False)
    if not dry_run and sum(states.values()) < len(chosen.send):
        raise UserError(
            f"{len(chosen.send) - sum(states.values())} redriven readings are in the stream and not"
            " in the archive yet: is a worker running? `penstock rejects list` shows them later"
        )


def _ask(chosen: Plan) -> None:
    """:raises UserError: when the user does not want it, or nobody can be asked."""
    if not sys.stdin.isatty():
        raise UserError(f"this puts {len(chosen.send)} readings into the stream: add --yes")
    if not click.confirm(f"Put {len(chosen.send)} readings into the stream?", err=True):
        raise UserError("nothing was put")


def document(chosen: Plan, states: dict[str, int], *, dry_run: bool) -> dict[str, Any]:
    """The result for a program."""
    return {
        "redriven": 0 if dry_run else len(chosen.send),
        "would_redrive": len(chosen.send) if dry_run else 0,
        "archived": states,
        "repeated": chosen.repeated,
        "accepted_before": chosen.accepted,
        "redriven_before": chosen.done,
        "refused": dict(chosen.refused),
    }


def lines(chosen: Plan, states: dict[str, int], *, dry_run: bool) -> Sequence[str]:
    """The result for a person."""
    found = [f"{len(chosen.send)} readings {'would be ' if dry_run else ''}redriven"]
    if states:
        parts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
        found.append(f"in the archive now: {parts}")
    for count, words in (
        (chosen.repeated, "rows are the same readings again"),
        (chosen.done, "readings were redriven before"),
        (chosen.accepted, "readings were folded when they came another time"),
    ):
        if count:
            found.append(f"{count} {words}")
    found += [f"{count} left: {reason}" for reason, count in chosen.refused.most_common(10)]
    return found
