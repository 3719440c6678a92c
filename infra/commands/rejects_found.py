"""``penstock rejects list`` and ``show``: what the archive has and the windows do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

import rich_click as click

from consumers.disposition import OK, Disposition
from infra.archive.auditing import source_of
from infra.commands.options import Time, aws_option, json_option
from infra.commands.rejected import REASONS
from infra.console import STDOUT, UserError, print_json
from infra.target import Target, find_target
from ingest.message import Rejection, decode
from ingest.times import show_time
from lake.rejects.admission import as_sent
from lake.rejects.fix import new_ids, shown
from lake.rejects.found import Wanted, find_redriven, find_rejects
from lake.rejects.redrive import accepted_ids
from lake.rejects.reject import Id, Reject
from lake.replay.source import S3Segments

F = TypeVar("F", bound=Callable[..., Any])

DAY_MS: Final = 86_400_000
PREVIEW_BYTES: Final = 60
REJECTIONS: Final = tuple(name for name in get_args(Disposition) if name != OK)


def reject_options(command: F) -> F:
    """``--from``, ``--to``, ``--reason``, ``--device``."""
    for option in reversed(
        (
            click.option("--from", "start", type=Time(), metavar="TIME",
                         help="Arrived from here on (ISO 8601, UTC).  [default: a day ago]"),
            click.option("--to", "end", type=Time(), metavar="TIME",
                         help="Arrived before this.  [default: now]"),
            click.option("--reason", "reasons", multiple=True, type=click.Choice(REJECTIONS),
                         help="With this disposition only; repeatable."),
            click.option("--device", "devices", multiple=True, metavar="NAME",
                         help="Of this device only; repeatable."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def wanted_of(
    start: int | None, end: int | None, reasons: Sequence[str], devices: Sequence[str]
) -> Wanted:
    """What the options mean.

    :raises UserError: when the time is empty.
    """
    to = time.time_ns() // 1_000_000 + 1 if end is None else end
    begin = to - DAY_MS if start is None else start
    if not 0 <= begin < to:
        raise UserError(
            f"--from {show_time(begin)} is not before --to {show_time(to)}: nothing is in between"
        )
    return Wanted(begin, to, frozenset(reasons) or None, frozenset(devices) or None)


def archive_of(target: Target) -> S3Segments:
    """The deployment's archive."""
    return S3Segments(target.client("s3", "reader"), target.settings.bucket(target.account))


@click.command("list")
@reject_options
@click.option("--last", type=click.IntRange(1, 100_000), default=50, show_default=True,
              help="At most so many, the newest.")  # fmt: skip
@json_option
@aws_option
def list_rejects(
    start: int | None,
    end: int | None,
    reasons: Sequence[str],
    devices: Sequence[str],
    last: int,
    as_json: bool,
    aws: bool,
) -> None:
    """List what was archived and not folded: readings, and records in which none could be read.

    Each has a name, which `penstock rejects show` takes. REDRIVEN says whether it has been put into
    the stream again, and what became of it.
    """
    target = find_target(aws=aws)
    wanted = wanted_of(start, end, reasons, devices)
    archive = archive_of(target)
    found = sorted(find_rejects(archive, wanted), key=lambda one: one.arrived_at)
    shown_ones = found[-last:]
    redriven = _outcomes(target, archive, shown_ones) if shown_ones else {}
    if as_json:
        print_json({"found": len(found), "rejects": [plain(one, redriven) for one in shown_ones]})
        return
    STDOUT.print("\n".join(lines(shown_ones, redriven)), markup=False)
    if len(found) > len(shown_ones):
        STDOUT.print(f"the newest {last} of {len(found)}: --last shows more", markup=False)


@click.command("show")
@click.argument("name")
@click.option("--from", "start", type=Time(), metavar="TIME",
              help="Look from here on (ISO 8601, UTC).  [default: a day before --to]")  # fmt: skip
@click.option("--to", "end", type=Time(), metavar="TIME", help="Look until here.  [default: now]")
@json_option
@aws_option
def show_reject(name: str, start: int | None, end: int | None, as_json: bool, aws: bool) -> None:
    """Show the reject NAME as `penstock rejects list` names it: why, and the bytes that were sent.

    Bytes are escaped, so that nothing in them reaches the terminal as a command.
    """
    target = find_target(aws=aws)
    wanted = wanted_of(start, end, (), ())
    archive = archive_of(target)
    for one in find_rejects(archive, wanted):
        if one.place == name:
            redriven = _outcomes(target, archive, [one])
            if as_json:
                print_json(plain(one, redriven))
            else:
                STDOUT.print("\n".join(details(one, redriven)), markup=False)
            return
    raise UserError(
        f"no reject {name:.120} arrived in that time; `penstock rejects list` has the names, and "
        "--from the time"
    )


def _outcomes(target: Target, archive: S3Segments, ones: Sequence[Reject]) -> dict[Id, str]:
    """What became of rejects, by identity: the dispositions of redriven readings, and ``ok`` for
    quarantined ones that were admitted."""
    found = dict(find_redriven(archive, min(one.arrived_at for one in ones)))
    if quarantined := [reading for one in ones if (reading := as_sent(one)) is not None]:
        source, _ = source_of(target, None)
        found |= dict.fromkeys(accepted_ids(source, quarantined), OK)
    return found


def state_of(one: Reject, redriven: Mapping[Id, str]) -> str:
    """What became of a reject that was redriven or admitted; empty when it was not."""
    if redriven.get((one.device_id or "", one.boot or "", one.seq or 0)) == OK:
        return OK
    states = {redriven.get(key, "") for key in new_ids(one)}
    return ", ".join(sorted(states - {""})) + (" in part" if len(states) > 1 else "")


def plain(one: Reject, redriven: Mapping[Id, str]) -> dict[str, Any]:
    """A reject for a program."""
    fields = one._asdict()
    return {
        "name": one.place, **fields, "raw": shown(one.raw), "bytes": len(one.raw),
        "why": why(one), "redriven": state_of(one, redriven) or None,
    }  # fmt: skip


def why(one: Reject) -> str:
    """The reason as a sentence."""
    message = decode(one.raw) if one.reading is None else None
    if isinstance(message, Rejection):
        return message.detail
    return REASONS.get(one.disposition, "not folded")


def lines(rejects: Sequence[Reject], redriven: Mapping[Id, str]) -> Iterable[str]:
    """Rejects as a table."""
    titles = ("ARRIVED (UTC)", "DEVICE", "REASON", "REDRIVEN", "NAME")
    rows = [
        (show_time(one.arrived_at), one.device_id or "-", one.disposition,
         state_of(one, redriven) or "-", one.place)
        for one in rejects
    ]  # fmt: skip
    widths = [max(len(row[at]) for row in (titles, *rows)) for at in range(len(titles))]
    for row in (titles, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def details(one: Reject, redriven: Mapping[Id, str]) -> Iterable[str]:
    """One reject, for a person."""
    yield f"name        {one.place}"
    yield f"device      {one.device_id or 'unknown: no topic rule wrote the record'}"
    yield f"arrived     {show_time(one.arrived_at)} UTC"
    yield f"reason      {one.disposition}: {shown(why(one).encode(), 300)}"
    if one.ts is not None:
        yield f"reading     {one.ts} (ms), boot {one.boot}, seq {one.seq}"
    yield f"redriven    {state_of(one, redriven) or 'no'}"
    yield f"{len(one.raw)} bytes"
    yield shown(one.raw)
