"""``penstock audit``: compare the hot windows with the archive, reading by reading."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import rich_click as click

from infra.archive.auditing import auditor_of
from infra.commands.archive_range import range_of, range_options, span_text
from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, UserError, live, print_json, say
from infra.cost.prices import read_prices
from infra.target import Target, find_target
from lake.audit.audit import Audit, Range
from lake.audit.differences import Difference
from lake.audit.stored import estimated_units

LARGE_UNITS: Final = 1_000_000
"""Read units from which on the command asks first."""

SHOWN: Final = 20


@click.command()
@range_options
@click.option("--yes", is_flag=True, help="Do not ask, however much is read.")
@json_option
@aws_option
def audit(
    start: int | None,
    end: int | None,
    arrived_until: int | None,
    devices: Sequence[str],
    tier_names: Sequence[str],
    yes: bool,
    as_json: bool,
    aws: bool,
) -> int:
    """Compare the hot windows with the archive: ids one by one, and every aggregate.

    What each window must hold is folded from the archive, as a worker would. A window that differs
    is looked at again until neither side has changed for as long as a reading may be on its way, so
    the command can run beside live traffic. Says before how much it reads, and for each difference
    which command mends it. Changes nothing. Exit code 1 when a window differs.
    """
    target = find_target(aws=aws)
    wanted = range_of(target, start, end, devices, tier_names)
    units = estimated_units(
        len(wanted.devices), wanted.tiers, wanted.end - wanted.start, wanted.chunk_ms
    )
    say(f"audit of {span_text(wanted)}: up to {units:,.0f} read units ({_usd(units)})")
    if units > LARGE_UNITS and not yes:
        _ask(units)
    result, facts = run_audit(target, wanted, arrived_until)
    if as_json:
        print_json({**document(result, wanted), **facts})
    else:
        STDOUT.print("\n".join(lines(result, facts)), markup=False)
    return 0 if result.clean else 1


def run_audit(
    target: Target, wanted: Range, arrived_until: int | None = None, table: str | None = None
) -> tuple[Audit, dict[str, Any]]:
    """Compare, with progress on a terminal; the result, and what was read. ``table`` is another
    windows table than the stack's own."""
    doing = "the archive is listed"

    def progress(what: str) -> None:
        nonlocal doing
        doing = what

    audited = auditor_of(target, arrived_until=arrived_until, table=table, progress=progress)
    started = time.monotonic()
    with live(lambda: f"  … {doing}"):
        result = audited.auditor.run(wanted)
    facts = {
        "seconds": round(time.monotonic() - started, 1),
        "segments_fetched": audited.segments.fetched,
        "read_units": audited.stored.units,
    }
    return result, facts


def _ask(units: float) -> None:
    """:raises UserError: when so much shall not be read, or nobody can be asked."""
    if not sys.stdin.isatty():
        raise UserError(
            f"this reads up to {units:,.0f} read units ({_usd(units)}): add --yes, or choose less "
            "with --from, --to, --device or --tier"
        )
    if not click.confirm(f"Read up to {units:,.0f} read units ({_usd(units)})?", err=True):
        raise UserError("nothing was read")


def _usd(units: float) -> str:
    return f"{read_prices().by_id()['dynamodb.read'].cost(units):.2f} USD on demand"


def document(result: Audit, wanted: Range) -> dict[str, Any]:
    """The result for a program."""
    return {
        "verdict": "clean" if result.clean else "different",
        "from": wanted.start,
        "to": wanted.end,
        "windows": result.windows,
        "readings": result.readings,
        "expired": result.expired,
        "refused": result.refused,
        "differences": [_plain(one) for one in result.differences],
        "changing": [_plain(one) for one in result.changing],
    }


def _plain(one: Difference) -> dict[str, Any]:
    return {**msgspec.to_builtins(one), "mend": one.mending()}


def lines(result: Audit, facts: dict[str, Any]) -> Iterable[str]:
    """The result for a person."""
    yield (
        f"{result.windows} windows compared with {result.readings} accepted rows of the archive "
        f"({facts['segments_fetched']} segments, {facts['read_units']:.0f} read units, "
        f"{facts['seconds']} s)"
    )
    if result.expired:
        yield f"{result.expired} windows have expired and were not compared"
    if result.refused:
        parts = ", ".join(f"{n} {name}" for name, n in sorted(result.refused.items()))
        yield f"accepted rows that the tiers of today do not take: {parts}"
    for one in result.differences[:SHOWN]:
        yield one.sentence
        yield f"  mend it with: {one.mending()}"
    if len(result.differences) > SHOWN:
        yield f"and {len(result.differences) - SHOWN} more: --json shows all of them"
    if result.changing:
        yield f"{len(result.changing)} windows changed at each look: audit them again later"
    if result.clean:
        yield "clean: the hot windows are what the archive says"
    else:
        yield f"{len(result.differences)} windows differ"
